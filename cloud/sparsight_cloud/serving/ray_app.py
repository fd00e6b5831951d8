"""The replicas as Ray Serve knows them: an application of one deployment, started and removed.

start ─> Serve's controller ─ starts ─> replica's process: `ray_replica`
  │            └─ says how far it is        └─ died: the controller starts another
  └─> handle, once all of them run
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from sparsight.errors import UsageError
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.serving.ray_replica import Model, RayReplica

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle
    from ray.serve.schema import ApplicationStatusOverview

_DEPLOYMENT = "replica"
_POLL_S = 0.2
_NEWS_S = 15.0  # between two lines that say that nothing has changed
_SHOWN_CHARS = 400

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many of them, and what each takes.

    Attributes:
        n: Replicas.
        cpus: Of Ray's processors for each; torch computes with as many threads.
    """

    n: int = 1
    cpus: int = 1

    def __post_init__(self) -> None:
        if min(self.n, self.cpus) < 1:
            raise ValueError(f"expected at least a replica and a processor for it, got {self}")


class RayApp:
    """Owns an application, while the cluster is connected."""

    def __init__(self, name: str, model: Model, replicas: Replicas) -> None:
        """An application that does not run yet.

        Args:
            name: The name that Serve knows it by. Two that run in one cluster have two names; who
                starts again under the same one takes the place of what is there.
            model: What its replicas compute with.
            replicas: How many.
        """
        self._name = name
        self._model = model
        self._replicas = replicas

    async def start(self, cluster: RayCluster) -> DeploymentHandle[RayReplica]:
        """Have the replicas started, and wait until they run, however long that takes.

        Raises:
            UsageError: They can't be.
        """
        handle = await cluster.call(self._deploy, cluster.is_on_loopback)
        told, told_s = -1, time.monotonic()
        while True:
            now = await cluster.call(self._look)
            if now.status == "RUNNING":
                return handle
            replicas = now.deployments.get(_DEPLOYMENT)
            why = (replicas and replicas.message) or now.message
            if now.status == "DEPLOY_FAILED":
                raise UsageError(f"the replicas can't start: {_last_line(why)}")
            states: Mapping[Any, int] = replicas.replica_states if replicas else {}
            ready = states.get("RUNNING", 0)
            if ready != told or time.monotonic() - told_s > _NEWS_S:
                more = {"why": _last_line(why)} if why else {}
                _log.info("replicas load the model", ready=ready, of=self._replicas.n, **more)
                told, told_s = ready, time.monotonic()
            await asyncio.sleep(_POLL_S)

    async def remove(self, cluster: RayCluster) -> None:
        """End the replicas; what they compute is finished first."""
        await cluster.call(self._delete)

    def _deploy(self, on_loopback: bool) -> DeploymentHandle[RayReplica]:
        from ray import serve

        app = application(self._model, self._replicas, on_loopback=on_loopback)
        target = serve.RunTarget(app, name=self._name, route_prefix=None)
        (handle,) = serve.run_many([target], wait_for_applications_running=False)
        return handle

    def _look(self) -> ApplicationStatusOverview:
        from ray import serve

        return serve.status().applications[self._name]

    def _delete(self) -> None:
        from ray import serve

        serve.delete(self._name)


def application(model: Model, replicas: Replicas, *, on_loopback: bool) -> Application:
    """The replicas as an application that is not deployed yet.

    Args:
        model: What they compute with.
        replicas: How many, and what each takes.
        on_loopback: Whether all of the cluster is this machine's loopback.
    """
    from ray import serve

    deployment = serve.deployment(
        name=_DEPLOYMENT,
        num_replicas=replicas.n,
        # One computes, one waits beside it: between two batches no message has to travel.
        max_ongoing_requests=2,
        ray_actor_options={"num_cpus": replicas.cpus},
        health_check_period_s=1.0,  # so soon is a dead one missed
        graceful_shutdown_timeout_s=10.0,
    )(RayReplica)
    app: Application = deployment.bind(model.load, on_loopback=on_loopback)
    return app


def app_name(out: Path) -> str:
    """A name for Serve that a gateway finds again when it starts again over the same results.

    Args:
        out: Its folder of results, which only one gateway has.
    """
    place = f"{socket.gethostname()}:{out.resolve()}"
    return f"sparsight-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


def _last_line(words: str) -> str:
    """Ray's words without the traceback before them."""
    lines = words.strip().splitlines()
    return lines[-1][:_SHOWN_CHARS] if lines else ""
