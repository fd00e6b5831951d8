"""What need not be sent again on a stream: frames told by what changed since one that arrived.

    frame, whole ─ worth it? ─┬─ yes ─> a delta to the reference ─┬─> sent
                              └─ no ──> whole ────────────────────┤
          the next reference <─ answered ─ sent with `keep` <─────┘ if deltas have grown

The spool holds frames whole, so nothing on disk depends on anything else: a frame becomes a delta
when it is sent, and is whole again if it must be sent once more. A reference is a frame that the
cloud has answered on this stream, so it has it; when the stream ends, both forget.

References may be deltas themselves, up to `CHAIN_MAX` in a row. Deltas grow as the scene moves away
from the reference: one that is a fifth larger than the first becomes the next reference, or is sent
whole instead if it would be one too many.

A camera that moves has no use for all this. A reference whose first delta is not worth it is
dropped, and frames are passed over, longer from time to time, before the next try.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sparsight.codec.chain import CHAIN_MAX
from sparsight.codec.parts import check_of
from sparsight.codec.payload import CodedFrame, decode
from sparsight.codec.reuse import encode_delta
from sparsight.codec.tables import Tables
from sparsight.errors import PayloadError, UsageError
from sparsight.wire import FrameFeatures, FrameKey, FrameStatus

WORTH = 0.7
"""Most that a delta may take of the whole payload."""

GROWN = 1.2
"""A delta that is so much larger than the first to its reference becomes the next reference."""

PATIENCE_MAX = 32
"""Frames that are sent whole without another look, at most, after deltas were not worth it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A frame that the cloud has, or may have."""

    key: FrameKey
    frame: CodedFrame
    check: int
    deltas: int


class Reuse:
    """Owns the references of one stream; for its thread."""

    def __init__(self, tables: Tables | None) -> None:
        """With no reference yet.

        Args:
            tables: Of the bundle; None tells every frame whole.
        """
        self._tables = tables
        self._reference: _Known | None = None
        self._next: _Known | None = None
        self._first_bytes = 0
        self._patience = self._pass_over = 0

    def tell(self, frame: FrameFeatures) -> FrameFeatures:
        """The frame as it is to be sent.

        Args:
            frame: Whole.
        """
        tables = self._tables
        if tables is None:
            return frame
        if self._pass_over:
            self._pass_over -= 1
            return frame
        try:
            coded = decode(frame.payload, tables)
        except (PayloadError, UsageError):  # of another bundle or version: the cloud may know it
            return frame
        if not len(coded.origins_yx):
            return frame
        told = self._against_reference(frame, coded, tables)
        if told is not None:
            return told
        if self._reference is not None and not self._first_bytes:
            self._reference = None
            self._patience = min(PATIENCE_MAX, 2 * self._patience + 1)
            self._pass_over = self._patience
            return frame
        return self._kept(frame, coded, 0)

    def answered(self, key: FrameKey, status: FrameStatus) -> None:
        """The cloud answered a frame of this stream."""
        if status is FrameStatus.NO_REFERENCE:
            self._reference = self._next = None
        elif self._next is not None and key == self._next.key:
            if status in (FrameStatus.OK, FrameStatus.ALREADY_DONE):
                self._reference, self._first_bytes = self._next, 0
            self._next = None

    def unsent(self, key: FrameKey) -> None:
        """A frame that was told was not sent after all."""
        if self._next is not None and key == self._next.key:
            self._next = None

    def _against_reference(
        self, frame: FrameFeatures, coded: CodedFrame, tables: Tables
    ) -> FrameFeatures | None:
        reference = self._reference
        if reference is None or reference.key == frame.key:
            return None
        delta = encode_delta(coded, reference.frame, reference.check, tables)
        if delta is None or len(delta) > WORTH * len(frame.payload):
            return None
        self._patience = 0
        self._first_bytes = self._first_bytes or len(delta)
        grown = self._next is None and len(delta) > GROWN * self._first_bytes
        if grown and reference.deltas + 1 == CHAIN_MAX:
            return None
        told = replace(frame, payload=delta, reference=reference.key)
        return self._kept(told, coded, reference.deltas + 1) if grown else told

    def _kept(self, told: FrameFeatures, coded: CodedFrame, deltas: int) -> FrameFeatures:
        """The frame as the next reference, if none is on its way."""
        if self._next is not None:
            return told
        self._next = _Known(told.key, coded, check_of(told.payload), deltas)
        return replace(told, keep=True)
