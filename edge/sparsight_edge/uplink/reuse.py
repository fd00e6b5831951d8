"""What need not be sent again on a stream: frames told by what changed since one sent before.

    frame, whole ─ worth it? ─┬─ yes ─> a delta to the reference ─ grown? the next one ─┬─> sent
                              └─ no ──> whole, the next reference ──────────────────────┘

The spool holds frames whole, so nothing on disk depends on anything else: a frame becomes a delta
when it is sent, and is whole again if it must be sent once more. A stream keeps its order, so what
was sent as a reference is there when a delta to it arrives; if it is not, the cloud says so, and
the frame is sent again. When the stream ends, both sides forget.

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
class _Reference:
    """A frame that was sent for later ones to be told against."""

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
        self._reference: _Reference | None = None
        self._first_bytes = 0
        self._against: dict[FrameKey, FrameKey] = {}
        self._patience = self._pass_over = 0

    def tell(self, frame: FrameFeatures) -> FrameFeatures:
        """The frame as it is to be sent, next on this stream.

        Args:
            frame: Whole.
        """
        if self._tables is None:
            return frame
        if self._pass_over:
            self._pass_over -= 1
            return frame
        try:
            coded = decode(frame.payload, self._tables)
        except (PayloadError, UsageError):  # of another bundle or version: the cloud may know it
            return frame
        if not len(coded.origins_yx):
            return frame
        told = self._by_changes(frame, coded, self._tables)
        if told is not None:
            assert told.reference is not None
            self._against[told.key] = told.reference
            return told
        if self._reference is not None and not self._first_bytes:
            self._drop()
            return frame
        return self._kept(frame, coded, 0)

    def answered(self, key: FrameKey, status: FrameStatus) -> None:
        """The cloud answered a frame of this stream."""
        against = self._against.pop(key, None)
        if status is FrameStatus.NO_REFERENCE and self._is(against):
            self._drop()

    def unsent(self, key: FrameKey) -> None:
        """The frame that was told last was not sent after all."""
        self._against.pop(key, None)
        if self._is(key):
            self._reference = None

    def _by_changes(
        self, frame: FrameFeatures, coded: CodedFrame, tables: Tables
    ) -> FrameFeatures | None:
        """The frame as a delta, if that is worth it."""
        reference = self._reference
        if reference is None or reference.key == frame.key:
            return None
        delta = encode_delta(coded, reference.frame, reference.check, tables)
        if delta is None or len(delta) > WORTH * len(frame.payload):
            return None
        self._patience = 0
        self._first_bytes = self._first_bytes or len(delta)
        grown = len(delta) > GROWN * self._first_bytes
        if grown and reference.deltas + 1 == CHAIN_MAX:
            return None
        told = replace(frame, payload=delta, reference=reference.key)
        return self._kept(told, coded, reference.deltas + 1) if grown else told

    def _kept(self, told: FrameFeatures, coded: CodedFrame, deltas: int) -> FrameFeatures:
        """The frame as the next reference."""
        self._reference = _Reference(told.key, coded, check_of(told.payload), deltas)
        self._first_bytes = 0
        return replace(told, keep=True)

    def _drop(self) -> None:
        """Do without a reference for a while."""
        self._reference = None
        self._patience = min(PATIENCE_MAX, 2 * self._patience + 1)
        self._pass_over = self._patience

    def _is(self, key: FrameKey | None) -> bool:
        return self._reference is not None and self._reference.key == key
