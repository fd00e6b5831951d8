"""Dispatch without a cluster: one replica, in a thread of the gateway's own process.

    event loop: Batcher ─ a batch ─> worker thread: replica.run ─ answers ─> event loop

The model's arithmetic lets go of Python's lock, so the gateway goes on reading and writing while a
batch is computed, and the next batch gathers meanwhile.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from sparsight.wire import FrameFeatures
from sparsight_cloud.serving.batching import Batcher, BatchRule, Computed
from sparsight_cloud.serving.dispatch import Ears, Outcome, Replica, Serves

CAPACITY_BATCHES = 16
"""Full batches that may be in the dispatch at once: what waits longer is better kept by devices."""


class InProcessDispatch:
    """A `Dispatch` of one replica."""

    def __init__(
        self,
        replica: Replica,
        rule: BatchRule | None = None,
        ears: Ears | None = None,
    ) -> None:
        """A dispatch that is not yet running.

        Args:
            replica: The model; belongs to the dispatch's thread from `start` on.
            rule: When a batch is complete; `BatchRule()` if None. It has one lane.
            ears: Told of batches, and of what is served.

        Raises:
            ValueError: The rule has more than one lane.
        """
        rule = rule or BatchRule()
        if rule.lanes != 1:
            raise ValueError(f"one replica computes one batch at a time, got {rule.lanes} lanes")
        self._replica = replica
        self._frames_max = rule.frames_max
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="replica")
        self._ears = ears or Ears()
        self._batcher = Batcher(self._compute, rule, self._ears.saw_batch)

    @property
    def serves(self) -> Serves:
        """What the replica can answer."""
        return self._replica.serves

    @property
    def capacity_frames(self) -> int:
        """`CAPACITY_BATCHES` full batches."""
        return CAPACITY_BATCHES * self._frames_max

    async def start(self) -> None:
        """Begin to compute."""
        self._ears.saw_serves(self.serves)
        self._batcher.start()

    async def submit(self, frame: FrameFeatures, /) -> Outcome:
        """Compute one frame; see `Dispatch.submit`."""
        return await self._batcher.submit(frame)

    async def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        await self._batcher.close()
        self._thread.shutdown()

    async def _compute(self, frames: list[FrameFeatures]) -> Computed:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, Computed.by, self._replica, frames)
