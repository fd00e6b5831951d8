"""Dispatch over Ray Serve: replicas in processes of their own, here or on other machines.

    event loop: Batcher ─ a batch ─> Serve's router ─> replica of few batches: `ray_replica`
                   ^                      │
                   └── once more <── its process died, another is there or comes

Serve starts replicas, chooses one for each batch and replaces the dead. Of it we use plain calls of
a handle, no more. A batch goes there as an argument, not by the object store: that takes 2 ms more
for 20 kB.

What the model itself raises comes back as a value. So whatever a call *raises* is of Ray's making,
and only a death or a lost connection is tried again: the frames are the same, and so is the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from sparsight.wire import FrameFeatures
from sparsight_cloud.serving.batching import Batcher, BatchRule, Computed
from sparsight_cloud.serving.dispatch import DispatchUnavailableError, Outcome, Serves
from sparsight_cloud.serving.in_process import CAPACITY_BATCHES
from sparsight_cloud.serving.ray_app import RayApp, Replicas
from sparsight_cloud.serving.ray_cluster import RayCluster, one_line
from sparsight_cloud.serving.ray_replica import Broken, Model, RayReplica

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

PATIENCE_S = 120.0

_DEATHS_MAX = 2
"""Calls of one batch that may end with a replica's death. Who killed two may kill all: its frames
are then tried one by one, and who kills two alone has broken the model."""

_PAUSES_S = (0.2, 1.0, 3.0)
"""Between calls that found a replica out of reach; after them, devices are told to wait."""

_log = structlog.get_logger(__name__)


class RayServeDispatch:
    """A `Dispatch` of replicas in a Ray cluster."""

    def __init__(
        self,
        model: Model,
        cluster: RayCluster,
        replicas: Replicas | None = None,
        rule: BatchRule | None = None,
        saw_batch: Callable[[int], None] | None = None,
        *,
        app: str = "sparsight",
        patience_s: float = PATIENCE_S,
    ) -> None:
        """A dispatch that is not yet running.

        Args:
            model: What computes.
            cluster: Where; belongs to the dispatch.
            replicas: One of one processor if None.
            rule: When a batch is complete. Its lanes are one a replica, and as many go ahead.
            saw_batch: Told the size of every batch.
            app: The name that Serve knows it by; see `RayApp`.
            patience_s: A batch without an answer for so long is given up, and its devices send it
                again later. The start of a replica in a dead one's place counts.
        """
        replicas = replicas or Replicas()
        self._model = model
        self._cluster = cluster
        rule = replace(rule or BatchRule(), lanes=replicas.n, ahead=replicas.n)
        self._capacity_frames = CAPACITY_BATCHES * rule.frames_max * replicas.n
        self._patience_s = patience_s
        self._app = RayApp(app, model, replicas)
        self._connected = False
        self._handle: DeploymentHandle[RayReplica] | None = None
        self._batcher = Batcher(self._compute, rule, saw_batch)

    @property
    def serves(self) -> Serves:
        """What the model will answer."""
        return self._model.serves

    @property
    def capacity_frames(self) -> int:
        """`CAPACITY_BATCHES` full batches for each replica."""
        return self._capacity_frames

    async def start(self) -> None:
        """Connect and start the replicas; takes 10 to 30 s.

        Raises:
            UsageError: There is no Ray, or the replicas don't start.
        """
        try:
            start_s = time.monotonic()
            _log.info("Ray starts, which takes 10 to 20 s")
            await self._cluster.start()
            self._connected = True
            self._handle = await self._app.start(self._cluster)
            self._batcher.start()
            _log.info("replicas are ready", seconds=round(time.monotonic() - start_s, 1))
        except BaseException:
            await self._end()
            raise

    async def submit(self, frame: FrameFeatures, /) -> Outcome:
        """Compute one frame; see `Dispatch.submit`."""
        return await self._batcher.submit(frame)

    async def close(self) -> None:
        """Finish what was submitted, then end the replicas."""
        await self._batcher.close()
        await self._end()

    async def _end(self) -> None:
        if self._connected and not self._cluster.is_private:
            await self._app.remove(self._cluster)
        self._connected = False
        await self._cluster.close()

    async def _compute(self, frames: list[FrameFeatures]) -> Computed:
        """Have a batch computed, on another replica if one dies over it."""
        from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError
        from ray.serve.exceptions import RayServeException

        assert self._handle is not None
        # What the model does not look at need not travel.
        batch = [replace(frame, thumbnail=b"") if frame.thumbnail else frame for frame in frames]
        deaths, pauses_s = 0, iter(_PAUSES_S)
        while True:
            response = self._handle.run.remote(batch)
            try:
                answered: Computed | Broken = await asyncio.wait_for(response, self._patience_s)
            except ActorDiedError:
                deaths += 1
                _log.warning("replica died", frames=len(frames), again=deaths < _DEATHS_MAX)
                if deaths == _DEATHS_MAX:
                    raise
            except ActorUnavailableError as error:
                pause_s = next(pauses_s, None)
                _log.warning("replica out of reach", frames=len(frames), again_in_s=pause_s)
                if pause_s is None:
                    raise DispatchUnavailableError("a replica is out of reach") from error
                await asyncio.sleep(pause_s)
            except asyncio.TimeoutError as error:
                response.cancel()  # type: ignore[no-untyped-call]
                why = f"no replica answered in {self._patience_s:g} s"
                raise DispatchUnavailableError(why) from error
            except (RayError, RayServeException) as error:
                _log.error("Ray failed", frames=len(frames), error=one_line(error))
                raise DispatchUnavailableError(f"Ray failed: {type(error).__name__}") from error
            else:
                if isinstance(answered, Broken):
                    raise RuntimeError(answered.why)
                return answered
