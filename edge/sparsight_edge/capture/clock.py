"""A camera's time stamps on this machine's clock, and frames passed over to keep up with it.

    stamp (s, from the camera's own zero) + offset = unix time

The offset is taken at the first frame: its arrival less its stamp. Frames are held up on their way,
the first ones most, so one that comes sooner than the offset says lowers it: what remains is the
shortest delay seen. It creeps up by `CREEP`, more than two quartz clocks differ, so that a camera
whose clock is slow is followed. A stamp that is `JUMP_S` off is of a camera that began anew: then
the offset is taken afresh.
"""

from __future__ import annotations

from sparsight_edge.capture.source import NS_PER_S

CREEP = 200e-6
JUMP_S = 10.0

LAG_S = 2.0
"""Behind the camera by this much, frames are passed over undecoded up to the next key frame."""


class StreamClock:
    """Owns the offset; made anew for each connection."""

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._arrived_ns = 0
        self._last_ns = 0

    def unix_ns(self, stamp_s: float | None, arrived_ns: int) -> int:
        """When a frame was taken; never running back, so that the first few may share a moment.

        Args:
            stamp_s: The frame's; None is none, and the frame was taken when it arrived.
            arrived_ns: When it came, in nanoseconds since 1970.
        """
        if stamp_s is None:
            return arrived_ns
        offset_ns = arrived_ns - int(stamp_s * NS_PER_S)
        known = self._offset_ns
        if known is None or abs(offset_ns - known) > JUMP_S * NS_PER_S:
            self._last_ns = 0
        else:
            crept = known + int(max(0, arrived_ns - self._arrived_ns) * CREEP)
            offset_ns = min(offset_ns, crept)
        self._offset_ns, self._arrived_ns = offset_ns, arrived_ns
        self._last_ns = max(self._last_ns, int(stamp_s * NS_PER_S) + offset_ns)
        return self._last_ns


class KeepUp:
    """Which packets to decode so that decoding never falls behind the camera.

    Others are built on the ones before them, up to the next key frame: once too late, all until
    there are passed over, and key frames alone are decoded until they come in time.

    Attributes:
        late: Whether packets are passed over now.
    """

    def __init__(self) -> None:
        self.late = False

    def takes(self, lag_s: float, key: bool) -> bool:
        """Whether to decode a packet.

        Args:
            lag_s: How long ago it was taken.
            key: Whether it stands alone.
        """
        if lag_s > LAG_S:
            self.late = True
        elif key and lag_s < LAG_S / 2:
            self.late = False
        return key or not self.late
