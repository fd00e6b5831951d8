"""What a device may tell its frames against: a few payloads of its stream, kept while that lasts.

    frame with `keep` ───────────────> kept, the oldest goes
    frame with a reference ─ kept? ─┬─ joined to it: a payload that any replica reads by itself
                                    └─ no: NO_REFERENCE, and the device sends it whole

So what computes stays a pure function of the frame, and a stream that breaks costs nothing but a
whole frame at the beginning of the next.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from sparsight.codec.chain import CHAIN_MAX, REFERENCES, join
from sparsight.wire import FrameFeatures, FrameKey


@dataclass(frozen=True, slots=True)
class _Kept:
    payload: bytes
    deltas: int


class References:
    """Owns the references of one stream."""

    def __init__(self, bytes_max: int) -> None:
        """None yet.

        Args:
            bytes_max: Of all of them; a payload of more than its share is not kept.
        """
        self._bytes_max = bytes_max
        self._kept: OrderedDict[FrameKey, _Kept] = OrderedDict()

    def resolve(self, frame: FrameFeatures) -> FrameFeatures | None:
        """A frame that can be read by itself; kept, if it wants to be.

        Returns:
            The frame, or None if its reference is not here.
        """
        payload, deltas = frame.payload, 0
        if frame.reference is not None:
            reference = self._kept.get(frame.reference)
            if reference is None or reference.deltas == CHAIN_MAX:
                return None
            payload, deltas = join(reference.payload, payload), reference.deltas + 1
            frame = replace(frame, payload=payload, reference=None)
        if frame.keep and len(payload) <= self._bytes_max // REFERENCES:
            self._kept[frame.key] = _Kept(payload, deltas)
            self._kept.move_to_end(frame.key)
            if len(self._kept) > REFERENCES:
                self._kept.popitem(last=False)
        return frame
