"""What became of the frames that were sent, over all streams of a boot."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Literal

from sparsight.wire import FrameResult

State = Literal["connecting", "up", "waiting", "turned away", "closed"]

_RECENT = 0.1  # share of a new time in the running mean


@dataclass(frozen=True, slots=True)
class UplinkStats:
    """The link in figures, since this boot.

    Attributes:
        state: `connecting`, `up`, `waiting` to try again, `turned away` (trying again, but only
            people can mend it), or `closed`.
        reason: Why it is not up, or what it last complained of; one line.
        streams: How often the cloud said welcome.
        sent: Frames that went out, those that went again among them.
        sent_bytes: Their messages.
        deltas: Those of them that were told by what changed since another one (`reuse`).
        saved_bytes: What these did not take.
        acknowledged: Frames that the cloud is done with, each once; the refused ones among them.
        answered_bytes: Messages of the frames that an answer came to, as they were spooled.
        refused: Frames that it found bad.
        again: Answers to send the frame later.
        held: Answers to keep the frame until one side is updated.
        strays: Answers to what was not asked.
        in_flight: Frames on their way.
        round_trip_ms: From sending to answer, running mean of the last ten or so.
        cloud_ms: The cloud's share of it, likewise.
    """

    state: State = "connecting"
    reason: str = ""
    streams: int = 0
    sent: int = 0
    sent_bytes: int = 0
    deltas: int = 0
    saved_bytes: int = 0
    acknowledged: int = 0
    answered_bytes: int = 0
    refused: int = 0
    again: int = 0
    held: int = 0
    strays: int = 0
    in_flight: int = 0
    round_trip_ms: float = 0.0
    cloud_ms: float = 0.0


class Ledger:
    """Counts; written by the uplink's thread, read by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stats = UplinkStats()

    def stats(self) -> UplinkStats:
        """How it stands."""
        with self._lock:
            return self._stats

    def state(self, state: State, reason: str = "") -> None:
        """The link is now in this state."""
        with self._lock:
            streams = self._stats.streams + (state == "up")
            self._stats = replace(
                self._stats, state=state, reason=reason, streams=streams, in_flight=0
            )

    def complain(self, reason: str) -> None:
        """Something is wrong, but the link is up."""
        with self._lock:
            self._stats = replace(self._stats, reason=reason)

    def sent(self, message_bytes: int, in_flight: int, saved_bytes: int) -> None:
        """A frame went out."""
        with self._lock:
            now = self._stats
            self._stats = replace(
                now,
                sent=now.sent + 1,
                sent_bytes=now.sent_bytes + message_bytes,
                deltas=now.deltas + (saved_bytes > 0),
                saved_bytes=now.saved_bytes + max(0, saved_bytes),
                in_flight=in_flight,
            )

    def stray(self) -> None:
        """An answer to what was not asked."""
        with self._lock:
            self._stats = replace(self._stats, strays=self._stats.strays + 1)

    def answered(
        self, result: FrameResult, round_trip_ms: float, in_flight: int, spooled_bytes: int
    ) -> None:
        """An answer came."""
        bad = result.status.done and result.status.name not in ("OK", "ALREADY_DONE")
        with self._lock:
            now = self._stats
            now = replace(
                now,
                in_flight=in_flight,
                acknowledged=now.acknowledged + result.status.done,
                answered_bytes=now.answered_bytes + spooled_bytes,
                refused=now.refused + bad,
                again=now.again + result.status.again,
                held=now.held + result.status.held,
            )
            if result.times is not None:
                t = result.times
                cloud_ms = t.queue_ms + t.compute_ms + t.commit_ms
                weight = _RECENT if now.round_trip_ms else 1.0
                now = replace(
                    now,
                    round_trip_ms=now.round_trip_ms + weight * (round_trip_ms - now.round_trip_ms),
                    cloud_ms=now.cloud_ms + weight * (cloud_ms - now.cloud_ms),
                )
            self._stats = now
