"""The parts that payloads are made of, each to bytes and back.

    LEB128  a number below 2**32, seven bits a byte, the lowest first; the top bit says: more
    patches their number, then the field of the top left corner of each, row by row
    coded   number of words, then two states and the words of the entropy coder
    check   CRC-32 of all before

Readers look at every bound before they make room for anything.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int32, Int64, UInt16

from sparsight.codec.rans import LOWEST, push
from sparsight.codec.tables import Coder
from sparsight.errors import PayloadError
from sparsight.geometry import ALIGN_CELLS

_STATES = struct.Struct("<II")
_CHECK = struct.Struct("<I")
CHECK_BYTES = _CHECK.size


@dataclass(frozen=True, slots=True)
class Words:
    """The coded part of a payload.

    Attributes:
        count: Words in it.
        at: Where its states begin.
    """

    count: int
    at: int

    @property
    def coded_bytes(self) -> int:
        """States and words."""
        return _STATES.size + 2 * self.count

    def read(self, data: bytes) -> tuple[UInt16[np.ndarray, " w"], Int64[np.ndarray, " 2"]]:
        """The words, and the states that the coder ended in.

        Raises:
            PayloadError: No coder ends in such states.
        """
        states = np.array(_STATES.unpack_from(data, self.at), np.int64)
        if (states < LOWEST).any():
            raise PayloadError("payload: states that no coder ends in; it was damaged or made up")
        words = np.frombuffer(data, "<u2", self.count, self.at + _STATES.size)
        return words.astype(np.uint16), states


def leb128(numbers: list[int]) -> bytes:
    """Numbers, one after the other."""
    out = bytearray()
    for number in numbers:
        while number > 0x7F:
            out.append(0x80 | number & 0x7F)
            number >>= 7
        out.append(number)
    return bytes(out)


def read_number(data: bytes, at: int, end: int) -> tuple[int, int]:
    """One LEB128 number of at most 32 bits, and what follows it.

    Raises:
        PayloadError: It has more, or the end comes first.
    """
    value = 0
    for shift in range(0, 35, 7):
        if at >= end:
            raise PayloadError("payload: it ends inside a number; it was cut")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise PayloadError("payload: a number of more than 32 bits")


def fields_of(origins_yx: Int32[np.ndarray, "n 2"], grid_hw: tuple[int, int]) -> list[int]:
    """The fields that patches begin at, row by row."""
    fields = origins_yx.astype(np.int64) // ALIGN_CELLS
    flat: list[int] = (fields[:, 0] * (grid_hw[1] // ALIGN_CELLS) + fields[:, 1]).tolist()
    return flat


def read_fields(
    data: bytes, at: int, end: int, count: int, grid_hw: tuple[int, int]
) -> tuple[Int32[np.ndarray, "n 2"], int]:
    """The top left cells of so many patches, and what follows their fields.

    Raises:
        PayloadError: One is outside the map, or there twice.
    """
    high, wide = (side // ALIGN_CELLS for side in grid_hw)
    flat = np.empty(count, np.int64)
    for i in range(count):
        flat[i], at = read_number(data, at, end)
        if flat[i] >= high * wide:
            raise PayloadError(
                f"payload: patch outside the frame, field {flat[i]} of {high * wide}"
            )
    if len(np.unique(flat)) != count:
        raise PayloadError("payload: the same patch twice")
    return np.stack((flat // wide, flat % wide), 1).astype(np.int32) * ALIGN_CELLS, at


def coded_part(symbols: Int[np.ndarray, " n"], rows: Int[np.ndarray, " n"], coder: Coder) -> bytes:
    """Symbols, each with its table, through the entropy coder."""
    words, states = np.empty(len(rows), np.uint16), np.zeros(2, np.int64)
    at = push(symbols, rows, coder.starts, words, states)
    return (
        leb128([len(words) - at])
        + _STATES.pack(*states.tolist())
        + words[at:].astype("<u2").tobytes()
    )


def read_words(data: bytes, at: int, end: int) -> Words:
    """Where the coded part is; nothing follows it but the checksum.

    Raises:
        PayloadError: It does not reach to the end.
    """
    count, at = read_number(data, at, end)
    words = Words(count, at)
    if at + words.coded_bytes != end:
        raise PayloadError(
            f"payload: {count} words make {at + words.coded_bytes + CHECK_BYTES} bytes, "
            f"got {len(data)}"
        )
    return words


def require_end(at: int, words: UInt16[np.ndarray, " w"], states: Int64[np.ndarray, " 2"]) -> None:
    """Check that the coded part was read to its end.

    Raises:
        PayloadError: Words are left or were missing, or the states are not those of the start.
    """
    if at != len(words) or (states != LOWEST).any():
        raise PayloadError("payload: the coded part does not end where it should; it was damaged")


def with_check(body: bytes) -> bytes:
    """A payload, with its checksum behind it."""
    return body + _CHECK.pack(zlib.crc32(body))


def check_of(data: bytes) -> int:
    """The checksum that a payload ends in."""
    check: int = _CHECK.unpack_from(data, len(data) - _CHECK.size)[0]
    return check


def require_check(data: bytes) -> None:
    """Check a payload against its checksum.

    Raises:
        PayloadError: It was damaged.
    """
    if zlib.crc32(memoryview(data)[: -_CHECK.size]) != check_of(data):
        raise PayloadError("payload: its checksum does not match; it was damaged on the way")
