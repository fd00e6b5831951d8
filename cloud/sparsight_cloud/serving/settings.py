"""How much of the gateway one device may have, and how much all of them."""

from __future__ import annotations

from dataclasses import dataclass

from sparsight.wire import PAYLOAD_BYTES_MAX, THUMBNAIL_BYTES_MAX

FRAME_COST_MAX = PAYLOAD_BYTES_MAX + THUMBNAIL_BYTES_MAX
"""What the largest frame takes of a credit in bytes."""


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Bounds of everything a stranger can make grow.

    Attributes:
        streams_max: Devices at a time.
        window_frames: Frames that one device may have unanswered.
        window_bytes: Their payloads and thumbnails; at least `FRAME_COST_MAX`.
        in_flight_bytes: Payloads and thumbnails of all devices that wait for an answer.
        detects_max: Unary calls that one device may have open.
        bad_messages_max: Messages that are none, after which a stream ends.
        hello_s: How long a stream may be silent before its Hello.
        write_s: How long a device may leave an answer unread before its stream ends.
        grace_s: How long a shutdown waits for what is in flight.
        payload_bytes_max: Largest payload.
        thumbnail_bytes_max: Largest thumbnail.
        reference_bytes: Payloads of one device that are kept for others to be told against.
    """

    streams_max: int = 256
    window_frames: int = 32
    window_bytes: int = 32 << 20
    in_flight_bytes: int = 512 << 20
    detects_max: int = 4
    bad_messages_max: int = 16
    hello_s: float = 10.0
    write_s: float = 60.0
    grace_s: float = 10.0
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    thumbnail_bytes_max: int = THUMBNAIL_BYTES_MAX
    reference_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        if min(self.streams_max, self.window_frames, self.detects_max) < 1:
            raise ValueError(f"expected room for a stream, a frame and a call, got {self}")
        if self.window_bytes < FRAME_COST_MAX:
            raise ValueError(
                f"window_bytes: expected room for the largest frame, {FRAME_COST_MAX}, "
                f"got {self.window_bytes}"
            )
