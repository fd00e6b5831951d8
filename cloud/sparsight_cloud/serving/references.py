"""What a device may tell its frames against: a payload of its stream, kept while that lasts.

    frame with `keep` ───────────────> kept, in place of the one before
    frame with a reference ─ kept? ─┬─ joined to it: a payload that any replica reads by itself
                                    └─ no: NO_REFERENCE, and the device sends it whole

So what computes stays a pure function of the frame, and a stream that breaks costs nothing but a
whole frame at the beginning of the next.
"""

from __future__ import annotations

from dataclasses import replace

from sparsight.codec.chain import CHAIN_MAX, join
from sparsight.wire import PAYLOAD_BYTES_MAX, FrameFeatures, FrameKey


class References:
    """Owns the reference of one stream: the last frame that was to be kept."""

    def __init__(self, bytes_max: int) -> None:
        """None yet.

        Args:
            bytes_max: Largest payload that is kept, counted with all that it is told against. A
                larger one is not, and the one before is gone.
        """
        self._bytes_max = bytes_max
        self._key: FrameKey | None = None
        self._payload = b""
        self._deltas = 0

    def resolve(self, frame: FrameFeatures) -> FrameFeatures | None:
        """A frame that can be read by itself; kept, if it wants to be.

        Returns:
            The frame, or None if its reference is not here.
        """
        payload, deltas = frame.payload, 0
        if frame.reference is not None:
            if frame.reference != self._key or self._deltas == CHAIN_MAX:
                return None
            payload, deltas = join(self._payload, payload), self._deltas + 1
            if len(payload) > PAYLOAD_BYTES_MAX:
                return None  # whole it fits
            frame = replace(frame, payload=payload, reference=None)
        if frame.keep:
            fits = len(payload) <= self._bytes_max
            self._key = frame.key if fits else None
            self._payload, self._deltas = (payload, deltas) if fits else (b"", 0)
        return frame
