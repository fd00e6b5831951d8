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
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int8, Int16, Int32, UInt8

from sparsight.codec.latents import ToldCells
from sparsight.codec.marks import contexts, pull_marks
from sparsight.codec.parts import (
    CHECK_BYTES,
    Words,
    coded_part,
    fields_of,
    leb128,
    read_fields,
    read_number,
    read_words,
    require_check,
    require_end,
    with_check,
)
from sparsight.codec.tables import Tables
from sparsight.codec.zones import HALO_MAX, UNTOLD, zones_of
from sparsight.errors import PayloadError, UsageError
from sparsight.geometry import ALIGN_CELLS
from sparsight.slicer import Patches

MAGIC = b"SPYL"
VERSION = 3
BUNDLE_BYTES = 8
_HEAD = struct.Struct("<4sB8sBBHHBB")


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
        fields_at: Where the list of patches begins.
        words: The coded part; none without patches.
    """

    bundle_prefix: str
    rate: int
    halo: int
    grid_hw: tuple[int, int]
    patch_hw: tuple[int, int]
    patches: int
    fields_at: int
    words: Words


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
    union, zones = _require_sound(frame, tables)
    flat = fields_of(frame.origins_yx, frame.grid_hw)
    parts = [
        _HEAD.pack(
            MAGIC,
            VERSION,
            _prefix(bundle_id),
            frame.rate,
            frame.halo,
            *(side // ALIGN_CELLS for side in (*frame.grid_hw, *frame.patch_hw)),
        ),
        leb128([len(flat), *flat]),
        coded_part(*_symbols(frame, tables, union, zones), tables.coder) if flat else leb128([0]),
    ]
    return with_check(b"".join(parts))


def coded_symbols(
    frame: CodedFrame, tables: Tables
) -> tuple[Int16[np.ndarray, " n"], Int16[np.ndarray, " n"]]:
    """What the entropy coder is given of a sound frame.

    Args:
        frame: The frame.
        tables: Of the bundle.

    Returns:
        Symbols, those of marks first, and the table of each.
    """
    return _symbols(frame, tables, frame.union(), frame.zones())


def peek(data: bytes, limits: PayloadLimits | None = None) -> Header:
    """Read what a payload says of itself; decodes nothing.

    Raises:
        PayloadError: No payload, of another version, damaged, or beyond the limits.
    """
    limits = limits or PayloadLimits()
    if len(data) > limits.bytes_max:
        raise PayloadError(f"payload: at most {limits.bytes_max} bytes, got {len(data)}")
    if len(data) < _HEAD.size + 2 + CHECK_BYTES:
        raise PayloadError(f"payload: {len(data)} bytes are too few for any; it was cut")
    magic, version, prefix, rate, halo, gh, gw, ph, pw = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise PayloadError(f"payload: expected {MAGIC!r} first, got {magic!r}; no payload of ours")
    if version != VERSION:
        raise PayloadError(
            f"payload: version {version}, this program reads {VERSION}; update the older side"
        )
    require_check(data)
    if halo > HALO_MAX:
        raise PayloadError(f"payload: a halo of 0 to {HALO_MAX} marks, got {halo}")
    grid, patch = (gh * ALIGN_CELLS, gw * ALIGN_CELLS), (ph * ALIGN_CELLS, pw * ALIGN_CELLS)
    if not 0 < grid[0] * grid[1] <= limits.cells_max:
        raise PayloadError(
            f"payload: a map of 1 to {limits.cells_max} cells, got {grid[0]}x{grid[1]}"
        )
    if 0 in patch:
        raise PayloadError(f"payload: patches of at least a cell, got {patch[0]}x{patch[1]}")
    end = len(data) - CHECK_BYTES
    patches, fields_at = read_number(data, _HEAD.size, end)
    most = min(limits.patches_max, gh * gw)
    if patches > most:
        raise PayloadError(f"payload: at most {most} patches on this map, got {patches}")
    _, at = read_fields(data, fields_at, end, patches, grid)
    if patches:
        words = read_words(data, at, end)
    else:
        words = Words(*read_number(data, at, end))
        if words.count or words.at != end:
            raise PayloadError(
                f"payload: no patches, but {words.count} words, in {len(data)} bytes"
            )
    return Header(prefix.hex(), rate, halo, grid, patch, patches, fields_at, words)


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
    origins, _ = read_fields(data, head.fields_at, len(data), head.patches, head.grid_hw)
    none = np.zeros((tables.channels, 0), np.int8)
    marks = np.zeros(head.grid_hw, np.bool_)
    frame = CodedFrame(head.rate, head.halo, head.grid_hw, head.patch_hw, origins, marks, none)
    if not head.patches:
        return frame
    return replace(frame, latents=_coded(data, head.words, tables, frame))


def _coded(
    data: bytes, part: Words, tables: Tables, frame: CodedFrame
) -> Int8[np.ndarray, "k n16"]:
    """The coded part: fills the marks of a frame, returns its latents."""
    words, states = part.read(data)
    union, coder, context = frame.union(), tables.coder, tables.context(frame.rate)
    at = pull_marks(words, states, 0, 0, union, coder.starts, coder.slots, frame.marks)
    latents = np.zeros((0, tables.channels), np.int8)
    if at >= 0:
        cells = ToldCells.of(frame.zones())
        latents = np.zeros((len(cells.zones), tables.channels), np.int8)
        at = cells.pull(words, states, at, int(union.sum()), context, coder, latents)
    require_end(at, words, states)
    return np.ascontiguousarray(latents.T)


def _symbols(
    frame: CodedFrame,
    tables: Tables,
    union: Bool[np.ndarray, "gh gw"],
    zones: UInt8[np.ndarray, "h16 w16"],
) -> tuple[Int16[np.ndarray, " n"], Int16[np.ndarray, " n"]]:
    context, starts = tables.context(frame.rate), tables.coder.starts
    symbols, rows = ToldCells.of(zones).symbols(frame.latents.T, context, starts)
    return (
        np.concatenate((frame.marks[union].astype(np.int16), symbols)),
        np.concatenate((contexts(frame.marks)[union].astype(np.int16), rows)),
    )


def _require_sound(
    frame: CodedFrame, tables: Tables
) -> tuple[Bool[np.ndarray, "gh gw"], UInt8[np.ndarray, "h16 w16"]]:
    """Refuse a frame that can't be coded; its union and zones if it can."""
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
    zones = zones_of(frame.marks, union, frame.halo)
    cells = int((zones != UNTOLD).sum())
    if frame.latents.shape != (tables.channels, cells):
        raise UsageError(
            f"payload: expected latents of {tables.channels} channels and {cells} cells, "
            f"got {list(frame.latents.shape)}"
        )
    return union, zones


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
