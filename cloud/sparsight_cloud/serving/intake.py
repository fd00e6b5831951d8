"""A frame in, its one result out, however often it comes and whatever dies.

    take(frame) ─ committed before? ──────────────────────────────> the stored answer
                ─ in flight? ── join it ─────────────────────────┐
                ─ no room? ── FullError                          v
                └─ Dispatch.submit ─> answer ─> commit on disk ─> result

Who waits may go away: the frame is computed and committed all the same, and the device gets the
stored answer when it asks again. What can be put right by waiting (no replica, disk full) is
answered UNAVAILABLE and not committed; what can't is a result like any other.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

import structlog

from sparsight.detections import Detections
from sparsight.errors import DataError, WireError
from sparsight.wire import CloudTimes, FrameFeatures, FrameKey, FrameResult, FrameStatus
from sparsight_cloud.serving.archive import Archive
from sparsight_cloud.serving.commit import CommitFailedError, CommitLog
from sparsight_cloud.serving.dispatch import (
    Answered,
    Dispatch,
    DispatchUnavailableError,
    Outcome,
    Refused,
    ReplicaFailedError,
)
from sparsight_cloud.serving.metrics import GatewayMetrics
from sparsight_cloud.serving.records import Record
from sparsight_cloud.serving.room import Room

POISON_FAILURES = 3
"""A frame that broke the model so often, alone, while others were computed, is refused for good."""

_RETRY_MS = (50, 10_000)  # shortest and longest time a device is told to wait
_SUSPECTS_MAX = 1000

_log = structlog.get_logger(__name__)


class FullError(Exception):
    """There is no room for the frame now.

    Attributes:
        retry_after_ms: When there may be.
    """

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(f"the cloud is full, come back in {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms


@dataclass(slots=True)
class _Suspect:
    failures: int
    others_before: int


class Intake:
    """Owns the frames in flight."""

    def __init__(
        self,
        dispatch: Dispatch,
        log: CommitLog,
        metrics: GatewayMetrics,
        in_flight_bytes_max: int,
        min_score: float = 0.0,
        archive: Archive | None = None,
    ) -> None:
        """An intake; the dispatch and the log are running.

        Args:
            dispatch: Computes.
            log: Commits.
            metrics: Counts.
            in_flight_bytes_max: Payloads and thumbnails that may wait for an answer.
            min_score: Objects below are left out of answers and results.
            archive: Keeps the payloads that were answered.
        """
        self._dispatch = dispatch
        self._commits = log
        self._metrics = metrics
        self._room = Room(lambda: dispatch.capacity_frames, in_flight_bytes_max)
        self._min_score = min_score
        self._archive = archive
        self._flying: dict[FrameKey, asyncio.Task[FrameResult]] = {}
        self._suspects: dict[FrameKey, _Suspect] = {}
        self._computed = 0
        self._ms_per_frame = 0.0
        self._last_s = 0.0

    async def take(self, frame: FrameFeatures) -> FrameResult:
        """Wait for a frame's result.

        Raises:
            FullError: There is no room now.
        """
        flying = self._flying.get(frame.key)
        if flying is not None:
            self._metrics.joined.inc()
            return await asyncio.shield(flying)
        if frame.key in self._commits:
            self._metrics.repeated.inc()
            return await self._stored(frame.key)
        if not self._room.enter(frame.key.device, frame.cost_bytes):
            raise FullError(self.retry_after_ms)
        if not self._flying:
            self._last_s = time.monotonic()
        task = asyncio.create_task(self._fly(frame), name="frame")
        self._flying[frame.key] = task
        self._metrics.in_flight.set(len(self._flying))
        task.add_done_callback(lambda _: self._landed(frame))
        return await asyncio.shield(task)

    @property
    def retry_after_ms(self) -> int:
        """How long it will take, at the pace of late, until what is in flight is done."""
        low, high = _RETRY_MS
        return int(min(max(self._ms_per_frame * len(self._flying), low), high))

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        while self._flying:
            await asyncio.wait(list(self._flying.values()))

    def _landed(self, frame: FrameFeatures) -> None:
        del self._flying[frame.key]
        self._room.leave(frame.key.device, frame.cost_bytes)
        self._metrics.in_flight.set(len(self._flying))

    async def _stored(self, key: FrameKey) -> FrameResult:
        try:
            stored = await self._commits.stored(key)
        except DataError as error:
            _log.error("stored result unreadable", key=str(key), error=str(error))
            stored = None
        if stored is None:
            return _again(key, "the stored result can't be read now", _RETRY_MS[1])
        return stored

    async def _fly(self, frame: FrameFeatures) -> FrameResult:
        """Compute and commit one frame; never raises."""
        try:
            outcome = await self._dispatch.submit(frame)
        except DispatchUnavailableError as error:
            return _again(frame.key, str(error), self.retry_after_ms)
        except ReplicaFailedError as error:
            _log.error("model failed", key=str(frame.key), error=str(error))
            if not self._is_poison(frame.key):
                return _again(frame.key, str(error), self.retry_after_ms)
            why = f"failed {POISON_FAILURES} times while others did not: {error}"
            outcome = Outcome(Refused(FrameStatus.REFUSED, why), 0, 0)
        else:
            self._saw(outcome)
        if isinstance(outcome.answer, Refused) and not outcome.answer.status.done:
            refused = outcome.answer
            return FrameResult(frame.key, refused.status, Detections.empty(), refused.line)
        return await self._commit(frame, outcome)

    async def _commit(self, frame: FrameFeatures, outcome: Outcome) -> FrameResult:
        start_s = time.monotonic()
        answer = outcome.answer
        if isinstance(answer, Answered):
            answer = replace(answer, detections=answer.detections.above(self._min_score))
        try:
            record = Record.of(frame, answer, time.time_ns())
        except WireError as error:
            _log.error("model's answer can't be sent", key=str(frame.key), error=str(error))
            refused = Refused(FrameStatus.REFUSED, f"the model's answer is none: {error}")
            record = Record.of(frame, refused, time.time_ns())
        if self._archive is not None and isinstance(outcome.answer, Answered):
            await self._archive.keep(frame)
        try:
            await self._commits.commit(record)
        except CommitFailedError as error:
            self._metrics.commit_failures.inc()
            return _again(frame.key, str(error)[:500], _RETRY_MS[1])
        commit_ms = (time.monotonic() - start_s) * 1e3
        result = record.result
        return FrameResult(
            key=result.key,
            status=result.status,
            detections=result.detections,
            detail=result.detail,
            times=CloudTimes(outcome.queue_ms, outcome.compute_ms, commit_ms),
        )

    def _saw(self, outcome: Outcome) -> None:
        """Keep the pace of late: the time from one answer to the next, over some sixteen of them.

        When nothing was in flight it counts from the first frame that came.
        """
        self._computed += isinstance(outcome.answer, Answered)
        now_s = time.monotonic()
        self._ms_per_frame += ((now_s - self._last_s) * 1e3 - self._ms_per_frame) / 16
        self._last_s = now_s

    def _is_poison(self, key: FrameKey) -> bool:
        """Count a failure. If all fail the model is at fault, and no frame may be lost for that."""
        suspect = self._suspects.setdefault(key, _Suspect(0, self._computed))
        suspect.failures += 1
        if suspect.failures >= POISON_FAILURES and self._computed > suspect.others_before:
            del self._suspects[key]
            return True
        if len(self._suspects) > _SUSPECTS_MAX:
            del self._suspects[next(iter(self._suspects))]
        return False


def _again(key: FrameKey, why: str, retry_after_ms: int) -> FrameResult:
    return FrameResult(
        key, FrameStatus.UNAVAILABLE, Detections.empty(), why, retry_after_ms=retry_after_ms
    )
