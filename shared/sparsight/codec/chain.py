"""A payload with all that is needed to read it: a delta behind what it is told against.

    join(payload of the reference, delta) ──> one payload, which may be a reference in its turn
    Reader: ((whole + delta) + delta) ──> frames, from the inside out ──> the last one's

    "SPYJ"  magic                                        4
    u8      version                                      1
    u32     length of the reference's payload            4
            that payload, whole or joined itself
            the delta, whose checksum is that of all     `codec.reuse`

Who keeps references joins; who reads needs nothing but the bytes, so the same bytes give the same
frame wherever they are read. A stream's frames share their references: a reader remembers a few.
"""

from __future__ import annotations

import struct
from collections import OrderedDict

from sparsight.codec.parts import check_of
from sparsight.codec.payload import CodedFrame, PayloadLimits, decode
from sparsight.codec.reuse import decode_delta
from sparsight.codec.tables import Tables
from sparsight.errors import PayloadError

MAGIC, VERSION = b"SPYJ", 1
CHAIN_MAX = 16
"""Most deltas in a payload."""

REFERENCES = 2
"""References that a stream needs: the one in use, and the next, which may not have arrived."""

_HEAD = struct.Struct("<4sBI")


def join(reference_payload: bytes, delta: bytes) -> bytes:
    """A delta with what it is told against, as one payload."""
    return _HEAD.pack(MAGIC, VERSION, len(reference_payload)) + reference_payload + delta


def whole_of(data: bytes) -> bytes:
    """The whole payload inside a joined one, which says rate, size and bundle of all; or itself.

    Raises:
        PayloadError: It was cut, is of another version, or holds more than `CHAIN_MAX` deltas.
    """
    return _links(data)[-1]


def sent_bytes(data: bytes) -> int:
    """What a device sent of a payload: the delta of a joined one, all of any other."""
    if not data.startswith(MAGIC) or len(data) < _HEAD.size:
        return len(data)
    length: int = _HEAD.unpack_from(data)[2]
    return max(0, len(data) - _HEAD.size - length)


class Reader:
    """Reads payloads of a bundle, whole and joined; for one thread."""

    def __init__(
        self, tables: Tables, limits: PayloadLimits | None = None, remembered: int = 64
    ) -> None:
        """A reader that remembers nothing yet.

        Args:
            tables: Of the bundle.
            limits: What to put up with, of each part of a joined payload.
            remembered: References whose frames are kept, the latest; one takes 0.2 MB or so.
        """
        self._tables = tables
        self._limits = limits or PayloadLimits()
        self._remembered = remembered
        self._frames: OrderedDict[bytes, CodedFrame] = OrderedDict()

    def read(self, data: bytes) -> CodedFrame:
        """The frame that a payload tells.

        Raises:
            PayloadError: Anything is wrong with it, or with what it is told against.
        """
        links = _links(data)
        known = next((i for i, link in enumerate(links) if link in self._frames), None)
        if known is None:
            known = len(links) - 1
            frame = decode(links[known], self._tables, self._limits)
        else:
            frame = self._frames[links[known]]
        for i in reversed(range(known)):
            self._remember(links[i + 1], frame)
            delta = links[i][_HEAD.size + len(links[i + 1]) :]
            check = check_of(links[i + 1])
            frame = decode_delta(delta, frame, check, self._tables, self._limits)
        return frame

    def _remember(self, reference_payload: bytes, frame: CodedFrame) -> None:
        self._frames[reference_payload] = frame
        self._frames.move_to_end(reference_payload)
        if len(self._frames) > self._remembered:
            self._frames.popitem(last=False)


def _links(data: bytes) -> list[bytes]:
    """A payload, what it is told against, what that is told against, and so on to a whole one."""
    links = [data]
    while links[-1].startswith(MAGIC):
        outer = links[-1]
        if len(outer) < _HEAD.size:
            raise PayloadError(f"payload: {len(outer)} bytes are too few for any; it was cut")
        _, version, length = _HEAD.unpack_from(outer)
        if version != VERSION:
            raise PayloadError(
                f"payload: joined by version {version}, this program reads {VERSION}; update the "
                "older side"
            )
        if length > len(outer) - _HEAD.size:
            raise PayloadError(
                f"payload: a reference of {length} bytes in {len(outer)}; it was cut"
            )
        if len(links) > CHAIN_MAX:
            raise PayloadError(f"payload: at most {CHAIN_MAX} deltas in one")
        links.append(outer[_HEAD.size : _HEAD.size + length])
    return links
