"""What need not be sent again on a stream: frames told by what changed since one sent before.

    frame, whole ─ worth it? ─┬─ yes ─> a delta to the reference ─ grown? the next one ─┬─> sent
                              └─ no ──> whole, the next reference ──────────────────────┘

The spool holds frames whole, so nothing on disk depends on anything else: a frame becomes a delta
when it is sent, and is whole again if it must be sent once more. A stream keeps its order, so what
was sent as a reference is there when a delta to it arrives; if it is not, the cloud says so, and
the frame is sent again. When the stream ends, both sides forget.

References may be deltas themselves, up to `deltas_max` in a row and as many bytes as the cloud
keeps. Deltas grow as the scene moves away from the reference: one that is a fifth larger than the
first becomes the next reference, or is sent whole instead if it would be one too many.

A camera that moves has no use for all this. A reference whose first delta is not worth it, or which
the cloud has not, is dropped, and frames are passed over, longer each time, before the next try.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sparsight.codec.chain import CHAIN_MAX, deltas_max, joined_bytes
from sparsight.codec.parts import check_of
from sparsight.codec.payload import BUNDLE_BYTES, CodedFrame, decode, peek
from sparsight.codec.reuse import encode_delta
from sparsight.codec.tables import Tables
from sparsight.errors import PayloadError, UsageError
from sparsight.wire import FrameFeatures, FrameKey, FrameStatus

WORTH = 0.7
"""Most that a delta may take of the whole payload."""

GROWN = 1.2
"""A delta that is so much larger than the first to its reference becomes the next reference."""

WORTH_A_LINK = 0.5 / CHAIN_MAX
"""Growth below this share of a whole payload is worth no further delta in a row."""

PATIENCE_MAX = 32
"""Frames that are sent whole without another look, at most, after a reference was of no use."""


@dataclass(frozen=True, slots=True)
class _Reference:
    """A frame that was sent for later ones to be told against; `payload_bytes` as it is joined."""

    key: FrameKey
    frame: CodedFrame
    check: int
    deltas: int
    payload_bytes: int


class Reuse:
    """Owns the reference of one stream; for its thread."""

    def __init__(self, bundle_id: str, tables: Tables | None, reference_bytes_max: int) -> None:
        """With no reference yet.

        Args:
            bundle_id: Frames of other bundles are told whole.
            tables: Of the bundle; None tells every frame whole.
            reference_bytes_max: Largest payload that the cloud keeps; 0 tells every frame whole.
        """
        self._bundle_prefix = bundle_id[: 2 * BUNDLE_BYTES]
        self._tables = tables if reference_bytes_max else None
        self._bytes_max = reference_bytes_max
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
            if peek(frame.payload).bundle_prefix != self._bundle_prefix:
                return frame
            coded = decode(frame.payload, self._tables)
        except (PayloadError, UsageError):  # of another version: the cloud may know it
            return frame
        if not len(coded.origins_yx):
            return frame
        if self._is(frame.key):  # it is sent again
            return self._kept_whole(frame, coded)
        told = self._by_changes(frame, coded, self._tables)
        if told is not None:
            assert told.reference is not None
            self._against[told.key] = told.reference
            return told
        if self._reference is not None and not self._first_bytes:
            self._drop()
            return frame
        return self._kept_whole(frame, coded)

    def answered(self, key: FrameKey, status: FrameStatus) -> None:
        """The cloud answered a frame of this stream."""
        against = self._against.pop(key, None)
        if against is None:
            return
        if status is not FrameStatus.NO_REFERENCE:
            self._patience = 0
        elif self._is(against):
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
        if reference is None:
            return None
        delta = encode_delta(coded, reference.frame, reference.check, tables)
        if delta is None or len(delta) > WORTH * len(frame.payload):
            return None
        told = replace(frame, payload=delta, reference=reference.key)
        self._first_bytes = self._first_bytes or len(delta)
        worth_bytes = self._first_bytes + WORTH_A_LINK * len(frame.payload)
        if len(delta) <= max(GROWN * self._first_bytes, worth_bytes):
            return told
        deltas = reference.deltas + 1
        payload_bytes = joined_bytes(reference.payload_bytes, len(delta))
        # The last link is for telling against only: one more would be one too many.
        if deltas >= deltas_max(coded.grid_hw) or payload_bytes > self._bytes_max:
            return None
        return self._kept(told, coded, deltas, payload_bytes)

    def _kept_whole(self, frame: FrameFeatures, coded: CodedFrame) -> FrameFeatures:
        """A whole frame as the next reference, if the cloud keeps such a large one."""
        if len(frame.payload) > self._bytes_max:
            self._drop()
            return frame
        return self._kept(frame, coded, 0, len(frame.payload))

    def _kept(
        self, told: FrameFeatures, coded: CodedFrame, deltas: int, payload_bytes: int
    ) -> FrameFeatures:
        """The frame as the next reference."""
        check = check_of(told.payload)
        self._reference = _Reference(told.key, coded, check, deltas, payload_bytes)
        self._first_bytes = 0
        return replace(told, keep=True)

    def _drop(self) -> None:
        """Do without a reference for a while."""
        self._reference = None
        self._patience = min(PATIENCE_MAX, 2 * self._patience + 1)
        self._pass_over = self._patience

    def _is(self, key: FrameKey) -> bool:
        return self._reference is not None and self._reference.key == key
