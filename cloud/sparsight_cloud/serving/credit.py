"""What a device may still send.

    granted = written + window          written: frames whose results went out on the stream
    sent <= granted                     or the frame is answered OVER_CREDIT

Credit comes back when a result was *written*, not when it was computed: a device that does not read
its answers gets none, and what waits for it is bounded by its window. Windows shrink as devices
join, so that all of them together fit into what the dispatch can hold; what was granted stays so.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparsight.wire import Credit
from sparsight_cloud.serving.settings import FRAME_COST_MAX, GatewayLimits


@dataclass(frozen=True, slots=True)
class Window:
    """What one device may have unanswered.

    Attributes:
        frames: Frames, at least one.
        cost_bytes: Their payloads and thumbnails, at least the largest frame's.
    """

    frames: int
    cost_bytes: int


def fair_window(limits: GatewayLimits, capacity_frames: int, streams: int) -> Window:
    """A device's share when so many are connected: as `room` lets them have.

    Args:
        limits: The most it ever gets, and what all may have in bytes.
        capacity_frames: What the dispatch holds.
        streams: Devices that are connected, at least one.
    """
    return Window(
        frames=max(1, min(limits.window_frames, capacity_frames // (streams + 1))),
        cost_bytes=max(
            FRAME_COST_MAX, min(limits.window_bytes, limits.in_flight_bytes // (streams + 1))
        ),
    )


class Ledger:
    """Owns the counts of one stream."""

    def __init__(self) -> None:
        self._sent = Credit(0, 0)
        self._written = Credit(0, 0)
        self._granted = Credit(0, 0)
        self._forgiven = Credit(0, 0)

    @property
    def unanswered(self) -> int:
        """Frames whose results are not written yet."""
        return self._sent.frames - self._written.frames

    def take(self, cost_bytes: int) -> bool:
        """A frame came.

        Returns:
            Whether the device had credit for it. Without, it is counted all the same.
        """
        self._sent = _plus(self._sent, cost_bytes)
        return self._granted.allows(
            self._sent.frames - self._forgiven.frames,
            self._sent.cost_bytes - self._forgiven.cost_bytes,
        )

    def answered(self, cost_bytes: int) -> None:
        """A frame's result was written."""
        self._written = _plus(self._written, cost_bytes)

    def forgive(self, size_bytes: int) -> None:
        """A message came that is none.

        It may have been a frame, which the device counts, or not. So it is counted where that gives
        credit and left out where it would take some: an honest device must not run dry.
        """
        self._sent = _plus(self._sent, size_bytes)
        self._written = _plus(self._written, size_bytes)
        self._forgiven = _plus(self._forgiven, size_bytes)

    def grant(self, window: Window) -> Credit | None:
        """The credit to tell the device of, if it is time.

        That is when half of what it was told is used up, or when it waits for nothing and could not
        send the largest frame: more often would be a message for every frame.
        """
        frames = max(self._granted.frames, self._written.frames + window.frames)
        cost_bytes = max(self._granted.cost_bytes, self._written.cost_bytes + window.cost_bytes)
        new = Credit(frames, cost_bytes)
        if new == self._granted:
            return None
        left_frames = self._granted.frames - self._sent.frames
        left_bytes = self._granted.cost_bytes - self._sent.cost_bytes
        half_used = left_frames * 2 <= window.frames or left_bytes * 2 <= window.cost_bytes
        if half_used or (self.unanswered == 0 and left_bytes < FRAME_COST_MAX):
            self._granted = new
            return new
        return None


def _plus(total: Credit, cost_bytes: int) -> Credit:
    return Credit(total.frames + 1, total.cost_bytes + cost_bytes)
