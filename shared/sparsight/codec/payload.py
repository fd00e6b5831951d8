"""One frame as bytes.

    "SPYL"  magic                                             4
    u8      version                                           1
    8 bytes first bytes of the bundle's cloud_id              8
    u8  x2  rate; marks that a field of the halo needs        2    0: no halo
    u16 x2  height, width of the P3 map, in fields            4    a field is 4x4 cells
    u8  x2  height, width of a patch, in fields               2
    LEB128  number of patches, then the field of the top      1 + about 2 a patch
            left corner of each (row by row), best first
    LEB128  number of coded words                             1 to 3
    u32 x2  states of the coder         } if there are        8
    u16 ... words: marks, then latents  } patches             2 a word
    u32     CRC-32 of all before                              4

Little endian. A frame without patches takes 27 bytes. Everything outside the coded part is bounded
and checked before anything is allocated; the coded part must use exactly its words and end in the
states that a coder starts with, so a decoder notices damage that the checksum was made to cover.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int8, Int32, Int64, UInt8

from sparsight.codec.latents import ToldCells
from sparsight.codec.marks import contexts, pull_marks
from sparsight.codec.rans import LOWEST, push
from sparsight.codec.tables import Tables
from sparsight.codec.zones import HALO_MAX, UNTOLD, zones_of
from sparsight.errors import PayloadError, UsageError
from sparsight.geometry import ALIGN_CELLS
from sparsight.slicer import Patches

MAGIC = b"SPYL"
VERSION = 3
BUNDLE_BYTES = 8
_HEAD = struct.Struct("<4sB8sBBHHBB")
_STATES = struct.Struct("<II")
_CHECK = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class CodedFrame:
    """The kept part of a frame, ready to be coded.

    Attributes:
        rate: The codec's quality level, 0 is the finest.
        halo: Marks that a field beside a patch needs around it to be told; 0 for no halo.
        grid_hw: Height and width of the P3 map, in cells, multiples of `ALIGN_CELLS`.
        patch_hw: Height and width of a patch, in cells, likewise.
        origins_yx: Top left cell of each patch, best first, likewise; no two are the same.
        marks: Cells that are worth the head; none outside the patches.
        latents: For each channel, the told cells of stride 16, row by row.
    """

    rate: int
    halo: int
    grid_hw: tuple[int, int]
    patch_hw: tuple[int, int]
    origins_yx: Int32[np.ndarray, "n 2"]
    marks: Bool[np.ndarray, "gh gw"]
    latents: Int8[np.ndarray, "k n16"]

    def union(self) -> Bool[np.ndarray, "gh gw"]:
        """The cells under at least one patch."""
        gains = np.zeros(len(self.origins_yx), np.float32)
        return Patches(self.origins_yx, gains, self.patch_hw, self.grid_hw).union()

    def zones(self) -> UInt8[np.ndarray, "h16 w16"]:
        """The zone of each cell of stride 16 (`codec.zones`)."""
        return zones_of(self.marks, self.union(), self.halo)


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """What a reader puts up with.

    Attributes:
        bytes_max: Size of a payload.
        cells_max: Cells of a P3 map: 2**20 is a frame of 8192x8192 px.
        patches_max: Patches of a frame.
    """

    bytes_max: int = 8 << 20
    cells_max: int = 1 << 20
    patches_max: int = 1 << 14


@dataclass(frozen=True, slots=True)
class Header:
    """What a payload says of itself.

    Attributes:
        bundle_prefix: The first 16 hex digits of the bundle's id.
        rate: The codec's quality level.
        halo: Marks that a field of the halo needs; 0 for no halo.
        grid_hw: Height and width of the P3 map, in cells.
        patch_hw: Height and width of a patch, in cells.
        patches: How many there are.
        words: Coded words.
        fields_at: Where the list of patches begins.
        words_at: Where the coded part begins.
    """

    bundle_prefix: str
    rate: int
    halo: int
    grid_hw: tuple[int, int]
    patch_hw: tuple[int, int]
    patches: int
    words: int
    fields_at: int
    words_at: int


def encode(frame: CodedFrame, tables: Tables, bundle_id: str) -> bytes:
    """Code a frame.

    Args:
        frame: What to code.
        tables: Of the bundle.
        bundle_id: `Manifest.cloud_id` of the bundle, at least 16 hex digits.

    Raises:
        UsageError: The frame doesn't fit itself, the tables or what readers put up with, or the id
            is none.
    """
    _require_sound(frame, tables)
    fields = frame.origins_yx.astype(np.int64) // ALIGN_CELLS
    flat = fields[:, 0] * (frame.grid_hw[1] // ALIGN_CELLS) + fields[:, 1]
    parts = [
        _HEAD.pack(
            MAGIC,
            VERSION,
            _prefix(bundle_id),
            frame.rate,
            frame.halo,
            *(side // ALIGN_CELLS for side in (*frame.grid_hw, *frame.patch_hw)),
        ),
        _leb128([len(flat), *flat.tolist()]),
    ]
    if len(flat):
        symbols, rows = coded_symbols(frame, tables)
        words, states = np.empty(len(rows), np.uint16), np.zeros(2, np.int64)
        at = push(symbols, rows, tables.coder.starts, words, states)
        parts += [
            _leb128([len(words) - at]),
            _STATES.pack(*states.tolist()),
            words[at:].astype("<u2").tobytes(),
        ]
    else:
        parts.append(_leb128([0]))
    body = b"".join(parts)
    return body + _CHECK.pack(zlib.crc32(body))


def coded_symbols(
    frame: CodedFrame, tables: Tables
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """What the entropy coder is given of a sound frame.

    Args:
        frame: The frame.
        tables: Of the bundle.

    Returns:
        Symbols, those of marks first, and the table of each.
    """
    union, cells = frame.union(), ToldCells.of(frame.zones())
    symbols, rows = cells.symbols(frame.latents.T, tables.context(frame.rate), tables.coder.starts)
    return (
        np.concatenate((frame.marks[union].astype(np.int64), symbols)),
        np.concatenate((contexts(frame.marks)[union], rows)),
    )


def peek(data: bytes, limits: PayloadLimits | None = None) -> Header:
    """Read what a payload says of itself; decodes nothing.

    Raises:
        PayloadError: No payload, of another version, damaged, or beyond the limits.
    """
    limits = limits or PayloadLimits()
    if len(data) > limits.bytes_max:
        raise PayloadError(f"payload: at most {limits.bytes_max} bytes, got {len(data)}")
    if len(data) < _HEAD.size + 2 + _CHECK.size:
        raise PayloadError(f"payload: {len(data)} bytes are too few for any; it was cut")
    magic, version, prefix, rate, halo, gh, gw, ph, pw = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise PayloadError(f"payload: expected {MAGIC!r} first, got {magic!r}; no payload of ours")
    if version != VERSION:
        raise PayloadError(
            f"payload: version {version}, this program reads {VERSION}; update the older side"
        )
    if zlib.crc32(memoryview(data)[: -_CHECK.size]) != _CHECK.unpack_from(data, len(data) - 4)[0]:
        raise PayloadError("payload: its checksum does not match; it was damaged on the way")
    if halo > HALO_MAX:
        raise PayloadError(f"payload: a halo of 0 to {HALO_MAX} marks, got {halo}")
    grid, patch = (gh * ALIGN_CELLS, gw * ALIGN_CELLS), (ph * ALIGN_CELLS, pw * ALIGN_CELLS)
    if not 0 < grid[0] * grid[1] <= limits.cells_max:
        raise PayloadError(
            f"payload: a map of 1 to {limits.cells_max} cells, got {grid[0]}x{grid[1]}"
        )
    if 0 in patch:
        raise PayloadError(f"payload: patches of at least a cell, got {patch[0]}x{patch[1]}")
    end = len(data) - _CHECK.size
    patches, fields_at = _number(data, _HEAD.size, end)
    most = min(limits.patches_max, gh * gw)
    if patches > most:
        raise PayloadError(f"payload: at most {most} patches on this map, got {patches}")
    at = fields_at
    for _ in range(patches):
        field, at = _number(data, at, end)
        if field >= gh * gw:
            raise PayloadError(f"payload: patch outside the frame, field {field} of {gh * gw}")
    words, at = _number(data, at, end)
    wanted = at + (_STATES.size + 2 * words if patches else 0)
    if wanted != end or (words and not patches):
        raise PayloadError(
            f"payload: {words} words and {patches} patches make {wanted + _CHECK.size} bytes, "
            f"got {len(data)}"
        )
    return Header(prefix.hex(), rate, halo, grid, patch, patches, words, fields_at, at)


def decode(data: bytes, tables: Tables, limits: PayloadLimits | None = None) -> CodedFrame:
    """Read a frame back.

    Args:
        data: A payload.
        tables: Of the bundle that it names.
        limits: What to put up with.

    Raises:
        PayloadError: Anything is wrong with it.
    """
    head = peek(data, limits)
    if head.rate >= tables.rates:
        raise PayloadError(f"payload: rate {head.rate}, the bundle has {tables.rates}")
    at, wide = head.fields_at, head.grid_hw[1] // ALIGN_CELLS
    flat = np.empty(head.patches, np.int64)
    for i in range(head.patches):
        flat[i], at = _number(data, at, len(data))
    if len(np.unique(flat)) != len(flat):
        raise PayloadError("payload: the same patch twice")
    origins = np.stack((flat // wide, flat % wide), 1).astype(np.int32) * ALIGN_CELLS
    none = np.zeros((tables.channels, 0), np.int8)
    marks = np.zeros(head.grid_hw, np.bool_)
    frame = CodedFrame(head.rate, head.halo, head.grid_hw, head.patch_hw, origins, marks, none)
    if not head.patches:
        return frame
    return replace(frame, latents=_coded(data, head, tables, frame))


def _coded(
    data: bytes,
    head: Header,
    tables: Tables,
    frame: CodedFrame,
) -> Int8[np.ndarray, "k n16"]:
    """The coded part: fills the marks of a frame, returns its latents."""
    states = np.array(_STATES.unpack_from(data, head.words_at), np.int64)
    if (states < LOWEST).any():
        raise PayloadError("payload: states that no coder ends in; it was damaged or made up")
    words = np.frombuffer(data, "<u2", head.words, head.words_at + _STATES.size).astype(np.uint16)
    union, coder, context = frame.union(), tables.coder, tables.context(head.rate)
    at = pull_marks(words, states, union, coder.starts, coder.slots, frame.marks)
    latents = np.zeros((0, tables.channels), np.int8)
    if at >= 0:
        cells = ToldCells.of(frame.zones())
        latents = np.zeros((len(cells.zones), tables.channels), np.int8)
        at = cells.pull(words, states, at, int(union.sum()), context, coder, latents)
    if at != len(words) or (states != LOWEST).any():
        raise PayloadError("payload: the coded part does not end where it should; it was damaged")
    return np.ascontiguousarray(latents.T)


def _require_sound(frame: CodedFrame, tables: Tables) -> None:
    """Refuse a frame that can't be coded."""
    tables.context(frame.rate)  # refuses what is no rate
    if not 0 <= frame.halo <= HALO_MAX:
        raise UsageError(f"payload: a halo of 0 to {HALO_MAX} marks, got {frame.halo}")
    sides = np.array((*frame.grid_hw, *frame.patch_hw))
    origins = frame.origins_yx
    if (sides <= 0).any() or (sides % ALIGN_CELLS).any() or (sides[2:] > 255 * ALIGN_CELLS).any():
        raise UsageError(
            f"payload: expected sides in multiples of {ALIGN_CELLS} cells, of patches at most "
            f"{255 * ALIGN_CELLS}, got {sides.tolist()}"
        )
    limits = PayloadLimits()
    if sides[0] * sides[1] > limits.cells_max or len(origins) > limits.patches_max:
        raise UsageError(
            f"payload: at most {limits.cells_max} cells and {limits.patches_max} patches, got "
            f"{sides[0]}x{sides[1]} and {len(origins)}; scale the frame down"
        )
    inside = (origins >= 0) & (origins < sides[:2]) & (origins % ALIGN_CELLS == 0)
    if not inside.all() or len(np.unique(origins, axis=0)) != len(origins):
        raise UsageError("payload: patches start inside the map, aligned, each at its own cell")
    union = frame.union()
    if frame.marks.shape != union.shape or (frame.marks & ~union).any():
        raise UsageError("payload: marks lie inside the patches, on a map of the same size")
    cells = int((frame.zones() != UNTOLD).sum())
    if frame.latents.shape != (tables.channels, cells):
        raise UsageError(
            f"payload: expected latents of {tables.channels} channels and {cells} cells, "
            f"got {list(frame.latents.shape)}"
        )


def _prefix(bundle_id: str) -> bytes:
    try:
        prefix = bytes.fromhex(bundle_id[: 2 * BUNDLE_BYTES])
    except ValueError:
        prefix = b""
    if len(prefix) != BUNDLE_BYTES:
        raise UsageError(
            f"bundle id: expected at least {2 * BUNDLE_BYTES} hex digits, got {bundle_id!r}"
        )
    return prefix


def _leb128(numbers: list[int]) -> bytes:
    out = bytearray()
    for number in numbers:
        while number > 0x7F:
            out.append(0x80 | number & 0x7F)
            number >>= 7
        out.append(number)
    return bytes(out)


def _number(data: bytes, at: int, end: int) -> tuple[int, int]:
    """One LEB128 number of at most 32 bits, and what follows it."""
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
