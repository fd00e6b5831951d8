"""The replicas as Ray Serve knows them: an application of one deployment.

    start ─> Serve's controller ─ starts ─> replica's process: `ray_replica`
      │            │  └─ died: starts another; frames wait: starts more; other bundles: one by one
      │            └─ look: how many compute, what they serve, whether all of them are the newest
      └─> handle, once they run

An application is one gateway's own, which starts it anew and removes it at its end. Or it is
shared: whoever comes first starts it, others join, and it stays until somebody removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from sparsight.errors import UsageError
from sparsight_cloud.serving.dispatch import DispatchUnavailableError, Serves
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.serving.ray_replica import Model, RayReplica
from sparsight_cloud.serving.replicas import Replicas

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle
    from ray.serve.schema import ApplicationDetails

_DEPLOYMENT = "replica"
_ROUTER = "sparsight_cloud.serving.ray_router.IdleFirst"
_POLL_S = 0.2
_NEWS_S = 15.0  # between two lines that say that nothing has changed
_SHOWN_CHARS = 400
_ANSWER_S = 5.0  # that Serve's controller may take to say how things are

# A replica has one batch that it computes and one that waits beside it, both only under load: then
# the number grows, by a third at a time or one. An idle one has a batch now and then.
_SCALING = {
    "target_ongoing_requests": 1.5,
    "look_back_period_s": 12.0,  # it may be no shorter
    "upscale_delay_s": 5.0,
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AppState:
    """How an application stands.

    Attributes:
        serves: What it answers, or will once it is settled.
        running: Replicas that compute.
        deployed_unix_s: When it was started or changed last.
        settled: Whether all of its replicas are the newest.
        failed: Why the newest can't start; empty if they can, or nobody knows yet.
        waits: Why there are fewer of them than there should be, if Serve says.
        built: Whether Serve knows its replicas yet; it imports what others declare first.
    """

    serves: Serves
    running: int
    deployed_unix_s: float
    settled: bool
    failed: str = ""
    waits: str = ""
    built: bool = True


class RayApp:
    """Knows an application by its name, while the cluster is connected."""

    def __init__(
        self,
        name: str,
        model: Model | None = None,
        replicas: Replicas | None = None,
        *,
        shared: bool = False,
    ) -> None:
        """An application, which may run or not.

        Args:
            name: The name that Serve knows it by.
            model: What its replicas compute with, if it is started here; it must be given then.
            replicas: How many, likewise; one of one processor if None.
            shared: Whether others use it too.
        """
        self.name = name
        self.shared = shared
        self._model = model
        self._replicas = replicas or Replicas()
        self._controller: Any = None

    async def start(self, cluster: RayCluster) -> DeploymentHandle[RayReplica]:
        """Start it, or join it if it is shared and there; wait until it computes.

        Raises:
            UsageError: It can't be started.
        """
        if self.shared and await self.exists(cluster):
            _log.info("joins an application", app=self.name)
            await self._until_it_runs(cluster, settled=False)
        else:
            await self.deploy(cluster)
        return await cluster.call(self._handle)

    async def deploy(self, cluster: RayCluster) -> AppState:
        """Start it, or change what is there, one replica after the other.

        Raises:
            UsageError: The replicas can't be started. Of those before, some go on.
        """
        await cluster.call(self._deploy, cluster.is_on_loopback)
        return await self._until_it_runs(cluster, settled=True)

    async def exists(self, cluster: RayCluster) -> bool:
        """Whether Serve knows it, if only as one that is being built; waits for who can say."""
        return await self._sure_look(cluster) is not None

    async def look(self, cluster: RayCluster) -> AppState | None:
        """How it stands; None if it does not run.

        Raises:
            DispatchUnavailableError: Nobody can say just now.
        """
        return await cluster.call(self._look)

    async def remove(self, cluster: RayCluster) -> None:
        """End the replicas; what they compute is finished first."""
        await cluster.call(self._delete)

    async def _until_it_runs(self, cluster: RayCluster, *, settled: bool) -> AppState:
        """Wait, however long that takes, and say how far it is."""
        told, told_s = -1, time.monotonic()
        while True:
            now = await self._sure_look(cluster)
            if now is not None:
                if now.failed and settled:
                    raise UsageError(f"the replicas can't start: {now.failed}")
                if now.running and (now.settled or not settled):
                    return now
                if now.running != told or time.monotonic() - told_s > _NEWS_S:
                    more: dict[str, Any] = {"why": now.waits} if now.waits else {}
                    if settled:  # it is ours to say how many
                        more["of"] = self._replicas.n
                    what = "replicas load the model" if now.built else "waits for the application"
                    _log.info(what, ready=now.running, **more)
                    told, told_s = now.running, time.monotonic()
            await asyncio.sleep(_POLL_S)

    async def _sure_look(self, cluster: RayCluster) -> AppState | None:
        """Look until somebody can say: who took that for none would replace what others use."""
        while True:
            with contextlib.suppress(DispatchUnavailableError):
                return await self.look(cluster)
            await asyncio.sleep(_POLL_S)

    def _deploy(self, on_loopback: bool) -> None:
        from ray import serve

        assert self._model is not None
        app = application(self._model, self._replicas, on_loopback=on_loopback)
        target = serve.RunTarget(app, name=self.name, route_prefix=None)
        serve.run_many([target], wait_for_applications_running=False)

    def _handle(self) -> DeploymentHandle[RayReplica]:
        from ray import serve

        return serve.get_app_handle(self.name)

    def _look(self) -> AppState | None:
        """`serve.status` knows less and, with nobody to ask, waits for ever."""
        import ray
        from ray.exceptions import RayError
        from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
        from ray.serve.schema import ServeInstanceDetails

        try:
            if self._controller is None:
                self._controller = ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
            asked = self._controller.get_serve_instance_details.remote()
            said = ServeInstanceDetails(**ray.get(asked, timeout=_ANSWER_S))
        except (RayError, ValueError) as error:
            raise DispatchUnavailableError("Serve's controller does not answer") from error
        app = said.applications.get(self.name)
        return None if app is None else _state(app)

    def _delete(self) -> None:
        from ray import serve

        serve.delete(self.name)


def _state(app: ApplicationDetails) -> AppState | None:
    if app.status == "DELETING":
        return None
    replicas = app.deployments.get(_DEPLOYMENT)
    why = _last_line((replicas and replicas.message) or app.message)
    return AppState(
        serves=Serves.from_json((replicas and replicas.deployment_config.user_config) or {}),
        running=sum(one.state == "RUNNING" for one in replicas.replicas) if replicas else 0,
        deployed_unix_s=app.last_deployed_time_s,
        settled=replicas is not None and app.status in ("RUNNING", "UNHEALTHY"),
        failed=why or "no reason" if app.status == "DEPLOY_FAILED" else "",
        waits=why,
        built=replicas is not None,
    )


def application(model: Model, replicas: Replicas, *, on_loopback: bool) -> Application:
    """The replicas as an application that is not deployed yet.

    Args:
        model: What they compute with.
        replicas: How many, and what each takes.
        on_loopback: Whether all of the cluster is this machine's loopback.
    """
    from ray import serve

    how: dict[str, Any] = {"num_replicas": replicas.n}
    if replicas.scales:
        scaling = {"min_replicas": replicas.n, "max_replicas": replicas.most, **_SCALING}
        how = {"autoscaling_config": {**scaling, "downscale_delay_s": replicas.idle_s}}
    deployment = serve.deployment(
        name=_DEPLOYMENT,
        # One computes, one waits beside it: between two batches no message has to travel.
        max_ongoing_requests=2,
        ray_actor_options={"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
        # Gateways that join read here what is served.
        user_config=model.serves.to_json(),
        health_check_period_s=1.0,  # so soon is a dead one missed
        graceful_shutdown_timeout_s=10.0,
        request_router_config={"request_router_class": _ROUTER},
        logging_config={"enable_access_log": False},  # a line a batch, which takes 1 ms of some
        **how,
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
