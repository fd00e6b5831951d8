"""Dispatch over Ray Serve: replicas in processes of their own, here or on other machines.

    event loop: Batcher ─ a batch ─> `ray_router` ─> replica of few batches: `ray_replica`
                   ^                      │
                   └── once more <── its process died, another is there or comes

Serve starts replicas and replaces the dead; a router of ours, in Serve, chooses one for each batch.
We call its handle, and look once a second how many replicas there are and what they serve: both
change under our feet. A batch goes there as an argument, not by the object store: that takes 2 ms
more for 20 kB.

What the model itself raises comes back as a value. So whatever a call *raises* is of Ray's making,
and only a death or a lost connection is tried again: the frames are the same, and so is the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from sparsight.wire import FrameFeatures, FrameStatus
from sparsight_cloud.serving.batching import Batcher, BatchRule, Computed
from sparsight_cloud.serving.dispatch import (
    DispatchUnavailableError,
    Ears,
    Outcome,
    Refused,
    Serves,
)
from sparsight_cloud.serving.in_process import CAPACITY_BATCHES
from sparsight_cloud.serving.places import Ticket
from sparsight_cloud.serving.ray_app import AppState, RayApp
from sparsight_cloud.serving.ray_cluster import RayCluster, one_line
from sparsight_cloud.serving.ray_replica import Broken, RayReplica

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

PATIENCE_S = 120.0

_DEATHS_MAX = 2
"""Calls of one batch that may end with a replica's death. Who killed two may kill all: its frames
are then tried one by one, and who kills two alone has broken the model."""

_PAUSES_S = (0.2, 1.0, 3.0)
"""Between calls that found a replica out of reach; after them, devices are told to wait."""

_LOOK_S = 1.0  # between two looks at the replicas
_REFUSAL_S = 10.0  # that a refusal waits for a look that bears it out

_log = structlog.get_logger(__name__)


class RayServeDispatch:
    """A `Dispatch` of replicas in a Ray cluster."""

    def __init__(
        self,
        app: RayApp,
        cluster: RayCluster,
        rule: BatchRule | None = None,
        ears: Ears | None = None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """A dispatch that is not yet running.

        Args:
            app: The replicas; removed at the end, unless they are shared or all of the cluster is.
            cluster: Where; belongs to the dispatch.
            rule: When a batch is complete. Its lanes are one a replica, and as many go ahead.
            ears: Told of batches, and of what is served.
            patience_s: A batch without an answer for so long is given up, and its devices send it
                again later. The start of a replica in a dead one's place counts.
        """
        self._app = app
        self._cluster = cluster
        self._rule = rule or BatchRule()
        self._ears = ears or Ears()
        self._patience_s = patience_s
        self._connected = False
        self._handle: DeploymentHandle[RayReplica] | None = None
        rule = replace(self._rule, lanes=1, ahead=1)
        self._batcher = Batcher(self._compute, rule, self._ears.saw_batch)
        self._serves = Serves({}, frozenset())
        self._lanes = 1
        self._numbers = itertools.count()
        self._under_way: set[int] = set()
        self._state: AppState | None = None
        self._settled_since_s = math.inf
        self._looked = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @property
    def serves(self) -> Serves:
        """What the replicas answer; while some are replaced, what any of them does."""
        return self._serves

    @property
    def capacity_frames(self) -> int:
        """`CAPACITY_BATCHES` full batches for each replica that runs."""
        return CAPACITY_BATCHES * self._rule.frames_max * self._lanes

    async def start(self) -> None:
        """Connect and have the replicas started; takes 10 to 30 s.

        Raises:
            UsageError: There is no Ray, or the replicas don't start.
        """
        try:
            start_s = time.monotonic()
            _log.info("Ray starts, which takes 10 to 20 s")
            await self._cluster.start()
            self._connected = True
            self._handle = await self._app.start(self._cluster)
            await self._look()
            self._watching = asyncio.create_task(self._watch(), name="watch")
            self._batcher.start()
            _log.info("replicas are ready", seconds=round(time.monotonic() - start_s, 1))
        except BaseException:
            await self._end()
            raise

    async def submit(self, frame: FrameFeatures, /) -> Outcome:
        """Compute one frame; see `Dispatch.submit`."""
        begin_s = time.monotonic()
        outcome = await self._batcher.submit(frame)
        answer = outcome.answer
        if isinstance(answer, Refused) and answer.status is FrameStatus.UNKNOWN_BUNDLE:
            # One of the replicas that are being replaced may not know it yet, or not any more.
            self._looked.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._looked.wait(), _REFUSAL_S)
            if begin_s < self._settled_since_s:
                raise DispatchUnavailableError("replicas are being replaced")
        return outcome

    async def close(self) -> None:
        """Finish what was submitted, then end the replicas if they are ours."""
        await self._batcher.close()
        await self._end()

    async def _watch(self) -> None:
        """Follow what others do to the replicas: Serve, and people."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self._look()
            except Exception as error:  # a full disk, say: whoever stops looking never sees again
                _log.error("replicas can't be followed now", error=one_line(error))

    async def _look(self) -> None:
        state = None
        with contextlib.suppress(DispatchUnavailableError):
            state = await self._app.look(self._cluster)
        # Nobody can say, or they were ended, or are built anew: what was known is the best guess.
        if state is None or not state.built:
            self._settled_since_s = math.inf
        else:
            self._saw(state)

    def _saw(self, state: AppState) -> None:
        before, self._state = self._state, state
        lanes = max(1, state.running)
        if lanes != self._lanes:
            _log.info("replicas", running=state.running)
            self._lanes = lanes
            self._batcher.resize(lanes, ahead=lanes)
        changed = before is None or before.deployed_unix_s != state.deployed_unix_s
        if not state.settled:
            self._settled_since_s = math.inf
        elif changed or self._settled_since_s == math.inf:
            self._settled_since_s = time.monotonic()
        serves = state.serves if state.settled else self._serves.or_what(state.serves)
        if serves != self._serves:
            _log.info("serves", bundles=[*serves.bundles], settled=state.settled)
            self._ears.saw_serves(serves)  # who can't note the names gets no results of them
            self._serves = serves
        self._looked.set()

    async def _end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        if self._connected and not (self._cluster.is_private or self._app.shared):
            await self._app.remove(self._cluster)
        self._connected = False
        await self._cluster.close()

    async def _compute(self, frames: list[FrameFeatures]) -> Computed:
        """Have a batch computed, on another replica if one dies over it."""
        number = next(self._numbers)
        self._under_way.add(number)
        try:
            return await self._call(frames, number)
        finally:
            self._under_way.discard(number)

    async def _call(self, frames: list[FrameFeatures], number: int) -> Computed:
        from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError
        from ray.serve.exceptions import RayServeException

        assert self._handle is not None
        # What the model does not look at need not travel.
        batch = [replace(frame, thumbnail=b"") if frame.thumbnail else frame for frame in frames]
        deaths, pauses_s = 0, iter(_PAUSES_S)
        while True:
            ticket = Ticket(number, frozenset(self._under_way))
            response = self._handle.run.remote(batch, ticket)
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
