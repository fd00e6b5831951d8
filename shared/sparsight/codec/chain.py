"""A payload with all that is needed to read it: a delta behind what it is told against.

    join(payload of the reference, delta) ──> one payload, which may be a reference in its turn
    Reader: ((whole + delta) + delta) ──> frames, from the inside out ──> the last one's

    "SPYJ"  magic                                        4
    u8      version                                      1
    u32     length of the reference's payload            4
            that payload, whole or joined itself
            the delta, whose checksum is that of all     `codec.reuse`

Who keeps references joins; who reads needs nothing but the bytes, so the same bytes give the same
frame wherever they are read. A stream's frames share their reference: a reader remembers those that
it read last.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict

from sparsight.codec.parts import check_of
from sparsight.codec.payload import CodedFrame, PayloadLimits, decode
from sparsight.codec.reuse import decode_delta
from sparsight.codec.tables import Tables
from sparsight.errors import PayloadError

MAGIC, VERSION = b"SPYJ", 1
CHAIN_MAX = 32
"""Most deltas in a payload."""

_CHAIN_CELLS = 1 << 22
_HEAD = struct.Struct("<4sBI")


def deltas_max(grid_hw: tuple[int, int]) -> int:
    """Most deltas in a payload of a map of this size: each takes a pass over the whole map."""
    return min(CHAIN_MAX, _CHAIN_CELLS // (grid_hw[0] * grid_hw[1]))


def join(reference_payload: bytes, delta: bytes) -> bytes:
    """A delta with what it is told against, as one payload."""
    return _HEAD.pack(MAGIC, VERSION, len(reference_payload)) + reference_payload + delta


def joined_bytes(reference_bytes: int, delta_bytes: int) -> int:
    """What `join` makes of so many."""
    return _HEAD.size + reference_bytes + delta_bytes


def is_joined(data: bytes) -> bool:
    """Whether a payload has what it is told against in it."""
    return data.startswith(MAGIC)


def whole_of(data: bytes) -> bytes:
    """The whole payload inside a joined one, which says rate, size and bundle of all; or itself.

    Raises:
        PayloadError: It was cut, is of another version, or holds more than `CHAIN_MAX` deltas.
    """
    return _parts(data)[0]


def sent_bytes(data: bytes) -> int:
    """What a device sent of a payload: the delta of one that was joined, all of any other."""
    if not is_joined(data) or len(data) < _HEAD.size:
        return len(data)
    length: int = _HEAD.unpack_from(data)[2]
    return max(0, len(data) - _HEAD.size - length)


class Reader:
    """Reads payloads of a bundle, whole and joined; for one thread."""

    def __init__(
        self,
        tables: Tables,
        limits: PayloadLimits | None = None,
        remembered_bytes: int = 256 << 20,
    ) -> None:
        """A reader that remembers nothing yet.

        Args:
            tables: Of the bundle.
            limits: What to put up with, of each part of a joined payload.
            remembered_bytes: Frames of references that are kept, the latest; one of 1536x864 px
                takes 0.2 MB or so.
        """
        self._tables = tables
        self._limits = limits or PayloadLimits()
        self._room_bytes = remembered_bytes
        self._frames: OrderedDict[bytes, CodedFrame] = OrderedDict()

    def read(self, data: bytes) -> CodedFrame:
        """The frame that a payload tells.

        Raises:
            PayloadError: Anything is wrong with it, or with what it is told against.
        """
        parts = _parts(data)
        last = len(parts) - 1
        names = _names(parts[:last])
        known = next((i for i in reversed(range(last)) if names[i] in self._frames), None)
        if known is None:
            known, frame = 0, decode(parts[0], self._tables, self._limits)
        else:
            frame = self._frames[names[known]]
        if last > deltas_max(frame.grid_hw):
            raise PayloadError(
                f"payload: at most {deltas_max(frame.grid_hw)} deltas on this map, got {last}"
            )
        for i in range(known, last):
            if i == last - 1:  # others are asked for by frames that came before
                self._remember(names[i], frame)
            check = check_of(parts[i])
            frame = decode_delta(parts[i + 1], frame, check, self._tables, self._limits)
        return frame

    def _remember(self, name: bytes, frame: CodedFrame) -> None:
        if name in self._frames:
            self._frames.move_to_end(name)
            return
        self._frames[name] = frame
        self._room_bytes -= _size_bytes(frame)
        while self._room_bytes < 0:
            _, old = self._frames.popitem(last=False)
            self._room_bytes += _size_bytes(old)


def _size_bytes(frame: CodedFrame) -> int:
    return frame.marks.nbytes + frame.latents.nbytes + frame.origins_yx.nbytes


def _parts(data: bytes) -> list[bytes]:
    """The whole payload inside, then the deltas in the order in which they apply."""
    at, end = 0, len(data)
    deltas: list[bytes] = []
    while data.startswith(MAGIC, at, end):
        if end - at < _HEAD.size:
            raise PayloadError(f"payload: {end - at} bytes are too few for any; it was cut")
        _, version, length = _HEAD.unpack_from(data, at)
        if version != VERSION:
            raise PayloadError(
                f"payload: joined by version {version}, this program reads {VERSION}; update the "
                "older side"
            )
        if length > end - at - _HEAD.size:
            raise PayloadError(f"payload: a reference of {length} bytes in {end - at}; it was cut")
        if len(deltas) == CHAIN_MAX:
            raise PayloadError(f"payload: at most {CHAIN_MAX} deltas in one")
        at += _HEAD.size
        deltas.append(data[at + length : end])
        end = at + length
    return [data[at:end], *reversed(deltas)]


def _names(parts: list[bytes]) -> list[bytes]:
    """For each part, a name for it and all before it."""
    names, name = [], b""
    for part in parts:
        name = hashlib.blake2b(name + part, digest_size=32).digest()
        names.append(name)
    return names
