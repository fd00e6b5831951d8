"""Frames of many devices into batches, each waiting no longer than it must.

    submit ─> waiting frames ─> a batch when there are `frames_max`, or the oldest has waited
              (`turns`)         `wait_ms`, or was there before a lane came free ─> compute

While all lanes compute, frames gather, so a busy service fills its batches without waiting at all.
`wait_ms` is what an idle one pays for the chance of company: nothing, unless a pass of two frames
takes much less than two passes, which it does not on a CPU (docs/LOG.md, 2026-11-29).

Where the way to the model takes time, a few full batches may go ahead and wait there: full ones
only, since what has left gathers no more. Others go ahead, too, while a batch is late: its machine
may be lost, which takes seconds to notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from sparsight.wire import FrameFeatures
from sparsight_cloud.serving.dispatch import (
    Answer,
    DispatchUnavailableError,
    Outcome,
    Replica,
    ReplicaFailedError,
)
from sparsight_cloud.serving.turns import Turns


@dataclass(frozen=True, slots=True)
class Computed:
    """A batch's answers.

    Attributes:
        answers: One a frame, in order.
        compute_ms: What the model took.
    """

    answers: Sequence[Answer]
    compute_ms: float

    @classmethod
    def by(cls, replica: Replica, frames: Sequence[FrameFeatures]) -> Computed:
        """Let a model compute, and look at the clock."""
        start_s = time.perf_counter()
        answers = replica.run(frames)
        return cls(answers, (time.perf_counter() - start_s) * 1e3)


LATE_S = 2.0
"""A batch that is under way for so long does not keep others back."""

Compute = Callable[[list[FrameFeatures]], Awaitable[Computed]]
"""Answers a batch. `DispatchUnavailableError` is passed on to every frame of it; after any other
error its frames are tried one by one."""


@dataclass(frozen=True, slots=True)
class BatchRule:
    """When a batch is complete.

    Attributes:
        frames_max: At most so many frames.
        wait_ms: The oldest frame waits no longer than this for others, while there is a free lane.
        lanes: Batches that are computed at the same time.
        ahead: Full batches that may be under way beyond these; others while one is late.
    """

    frames_max: int = 8
    wait_ms: float = 0.0
    lanes: int = 1
    ahead: int = 0

    def __post_init__(self) -> None:
        if min(self.frames_max, self.lanes) < 1 or not 0 <= self.wait_ms < math.inf:
            raise ValueError(f"expected at least a frame, a lane and no negative wait, got {self}")
        if self.ahead < 0:
            raise ValueError(f"expected no negative number of batches ahead, got {self}")


@dataclass(frozen=True, slots=True)
class _Waiting:
    frame: FrameFeatures
    outcome: asyncio.Future[Outcome]
    since_s: float


class Batcher:
    """Owns the frames that wait, and the batches under way."""

    def __init__(
        self, compute: Compute, rule: BatchRule, saw_batch: Callable[[int], None] | None = None
    ) -> None:
        """A batcher that is not yet running.

        Args:
            compute: Answers a batch.
            rule: When a batch is complete.
            saw_batch: Told the size of every batch.
        """
        self._compute = compute
        self._rule = rule
        self._saw_batch = saw_batch
        self._waiting: Turns[_Waiting] = Turns()
        self._news = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], float] = {}  # and since when, oldest first
        self._closing = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to make batches."""
        self._loop = asyncio.create_task(self._make_batches(), name="batcher")

    def resize(self, lanes: int, ahead: int) -> None:
        """From now on so many batches are computed at the same time, and go ahead."""
        self._rule = replace(self._rule, lanes=lanes, ahead=ahead)
        self._news.set()

    async def submit(self, frame: FrameFeatures) -> Outcome:
        """Wait for one frame's answer.

        Raises:
            ReplicaFailedError: It broke what computes it, alone.
            DispatchUnavailableError: The batcher is closed, or nobody computes.
        """
        if self._closing or self._loop is None or self._loop.done():
            raise DispatchUnavailableError("nothing computes here (any more); send it again later")
        waiting = _Waiting(frame, asyncio.get_running_loop().create_future(), time.monotonic())
        self._waiting.put(frame.key.device, waiting)
        self._news.set()
        return await waiting.outcome

    async def close(self) -> None:
        """Compute what waits, then end."""
        self._closing = True
        self._news.set()
        if self._loop is not None:
            await self._loop
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _make_batches(self) -> None:
        while self._waiting or not self._closing:
            self._news.clear()
            wait_s = self._wait_s()
            if wait_s > 0:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(
                        self._news.wait(), None if wait_s == math.inf else wait_s
                    )
                continue
            n = min(len(self._waiting), self._rule.frames_max)
            batch = [self._waiting.take() for _ in range(n)]
            task = asyncio.create_task(self._run(batch), name="batch")
            self._under_way[task] = time.monotonic()
            task.add_done_callback(self._ended)

    def _wait_s(self) -> float:
        """How long until a batch is due if nothing happens; 0 is now, infinity never."""
        full = len(self._waiting) >= self._rule.frames_max
        now_s = time.monotonic()
        late_in_s = next(iter(self._under_way.values()), math.inf) + LATE_S - now_s
        room = self._rule.lanes + (self._rule.ahead if full or late_in_s <= 0 else 0)
        if not self._waiting:
            return math.inf
        if len(self._under_way) >= room:
            return late_in_s if late_in_s > 0 else math.inf
        if full or self._closing:
            return 0.0
        oldest_s = min(waiting.since_s for waiting in self._waiting.firsts())
        return max(0.0, oldest_s + self._rule.wait_ms / 1e3 - now_s)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._news.set()

    async def _run(self, batch: list[_Waiting]) -> None:
        """Give every frame of a batch its outcome."""
        if self._saw_batch is not None:
            self._saw_batch(len(batch))
        try:
            computed = await self._compute([w.frame for w in batch])
            if len(computed.answers) != len(batch):
                raise ReplicaFailedError(
                    f"the model gave {len(computed.answers)} answers to {len(batch)} frames"
                )
        except DispatchUnavailableError as error:
            for w in batch:
                _fail(w, error)
        except Exception as error:
            if len(batch) > 1:
                # One of them may be the culprit: the others must not suffer for it.
                for w in batch:
                    await self._run([w])
                return
            why = " ".join(str(error).split())[:200]
            failed = ReplicaFailedError(f"the model failed: {type(error).__name__}: {why}")
            failed.__cause__ = error
            _fail(batch[0], failed)
        else:
            end_s, compute_ms = time.monotonic(), computed.compute_ms
            for w, answer in zip(batch, computed.answers, strict=True):
                if not w.outcome.done():
                    # Two clocks, perhaps of two machines: the difference may be a hair below zero.
                    queue_ms = max(0.0, (end_s - w.since_s) * 1e3 - compute_ms)
                    w.outcome.set_result(Outcome(answer, queue_ms, compute_ms))


def _fail(waiting: _Waiting, error: Exception) -> None:
    """Whoever waits may have gone away, which cancels its future."""
    if not waiting.outcome.done():
        waiting.outcome.set_exception(error)
