"""A frame told by what changed since another one, its reference, which the reader has as well.

    frame, reference ─ fields that differ ─┬─ which ─────────────────┐
                                           └─ their marks, latents ──┴─> delta

A field is 4x4 cells of P3, 32x32 px of the input. Nothing is lost: a delta is read back to the very
frame that a whole payload would have been read back to. What makes fields the same in the first
place is the device's business (`sparsight_edge.steady`).

    "SPYD"  magic                                                 4
    u8      version                                               1
    u32     checksum that the reference's payload ends in         4
    LEB128  0: the patches of the reference; n: n - 1 patches,    1 and more
            then the field of each
    coded   fields of the patches that changed; marks in them;    9 and more
            fields of the halo that changed; latents in both
    u32     CRC-32 of all before                                  4

A field that only one of the two frames has in its patches, or in its halo, has changed, and is not
told to have. Fields that changed come in blobs, like marks, and are coded with the marks' tables.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int8, Int64, UInt8, UInt16

from sparsight.codec.latents import ToldCells
from sparsight.codec.marks import contexts, pull_marks
from sparsight.codec.parts import (
    CHECK_BYTES,
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
from sparsight.codec.payload import CodedFrame, PayloadLimits
from sparsight.codec.tables import Tables
from sparsight.codec.zones import HALO, LATENT_CELLS, UNTOLD, any_in_squares
from sparsight.errors import PayloadError
from sparsight.geometry import ALIGN_CELLS

MAGIC, VERSION = b"SPYD", 1
_HEAD = struct.Struct("<4sBI")
_FIELD_LATENTS = ALIGN_CELLS // LATENT_CELLS

Fields = Bool[np.ndarray, "fh fw"]


def encode_delta(
    frame: CodedFrame, reference: CodedFrame, reference_check: int, tables: Tables
) -> bytes | None:
    """Code a frame against another one.

    Args:
        frame: What to code, with at least a patch.
        reference: What the reader has.
        reference_check: The checksum that its payload ends in (`parts.check_of`).
        tables: Of the bundle of both.

    Returns:
        The delta, or None if the two are not of a kind: another rate, size, halo, or no patches.
    """
    if not _of_a_kind(frame, reference) or not len(frame.origins_yx):
        return None
    union, zones = frame.union(), frame.zones()
    latents, known = _spread(frame, zones), _spread(reference, reference.zones())
    other = (zones != reference.zones()) | (latents != known).any(-1)
    other &= zones != UNTOLD
    differs = any_in_squares(frame.marks != reference.marks, ALIGN_CELLS)
    differs |= any_in_squares(other, _FIELD_LATENTS)
    asked, new = _asked(union, reference.union(), ALIGN_CELLS)
    changed = differs & asked | new
    halo_asked, halo_new = _asked(zones == HALO, reference.zones() == HALO, _FIELD_LATENTS)
    halo_changed = differs & halo_asked | halo_new
    inside = _whole(changed, ALIGN_CELLS)
    sent = np.where(_whole(changed | halo_changed, _FIELD_LATENTS), zones, UNTOLD)
    cells = ToldCells.of(sent)
    symbols, rows = cells.symbols(
        latents[sent != UNTOLD], tables.context(frame.rate), tables.coder.starts
    )
    asked_changed, halo_asked_changed = changed & asked, halo_changed & halo_asked
    told = [
        asked_changed[asked],
        frame.marks[inside],
        halo_asked_changed[halo_asked],
        symbols,
    ]
    where = [
        contexts(asked_changed)[asked],
        contexts(frame.marks)[inside],
        contexts(halo_asked_changed)[halo_asked],
        rows,
    ]
    same_patches = np.array_equal(frame.origins_yx, reference.origins_yx)
    flat = fields_of(frame.origins_yx, frame.grid_hw)
    return with_check(
        _HEAD.pack(MAGIC, VERSION, reference_check)
        + leb128([0] if same_patches else [1 + len(flat), *flat])
        + coded_part(
            np.concatenate([part.astype(np.int16) for part in told]),
            np.concatenate([part.astype(np.int16) for part in where]),
            tables.coder,
        )
    )


def decode_delta(
    data: bytes,
    reference: CodedFrame,
    reference_check: int,
    tables: Tables,
    limits: PayloadLimits | None = None,
) -> CodedFrame:
    """Read a frame back that was told against another one.

    Args:
        data: A delta.
        reference: The other one.
        reference_check: The checksum that its payload ends in.
        tables: Of the bundle of both.
        limits: What to put up with.

    Raises:
        PayloadError: Anything is wrong with it, or it was told against another frame.
    """
    limits = limits or PayloadLimits()
    if len(data) > limits.bytes_max:
        raise PayloadError(f"payload: at most {limits.bytes_max} bytes, got {len(data)}")
    if len(data) < _HEAD.size + 1 + CHECK_BYTES:
        raise PayloadError(f"payload: {len(data)} bytes are too few for any; it was cut")
    magic, version, check = _HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise PayloadError(
            f"payload: expected a delta, {MAGIC!r} of version {VERSION}, got {magic!r} of {version}"
        )
    require_check(data)
    if check != reference_check:
        raise PayloadError("payload: it is told against another frame than its reference")
    end = len(data) - CHECK_BYTES
    count, at = read_number(data, _HEAD.size, end)
    origins = reference.origins_yx
    if count:
        most = min(limits.patches_max, reference.marks.size // ALIGN_CELLS**2)
        if count - 1 > most:
            raise PayloadError(f"payload: at most {most} patches on this map, got {count - 1}")
        origins, at = read_fields(data, at, end, count - 1, reference.grid_hw)
    if not len(origins):
        raise PayloadError("payload: a frame without patches is told whole")
    part = read_words(data, at, end)
    words, states = part.read(data)
    return _pulled(replace(reference, origins_yx=origins), reference, words, states, tables)


def _pulled(
    frame: CodedFrame,
    reference: CodedFrame,
    words: UInt16[np.ndarray, " w"],
    states: Int64[np.ndarray, " 2"],
    tables: Tables,
) -> CodedFrame:
    """The coded part of a frame of which the patches are known."""
    coder, union = tables.coder, frame.union()
    asked, new = _asked(union, reference.union(), ALIGN_CELLS)
    changed, halo_changed = np.zeros_like(asked), np.zeros_like(asked)
    at = pull_marks(words, states, 0, 0, asked, coder.starts, coder.slots, changed)
    turn = int(asked.sum())
    changed |= new
    inside = _whole(changed, ALIGN_CELLS)
    marks = reference.marks & union & ~inside
    if at >= 0:
        at = pull_marks(words, states, at, turn, inside, coder.starts, coder.slots, marks)
        turn += int(inside.sum())
    frame = replace(frame, marks=marks)
    zones, before = frame.zones(), reference.zones()
    halo_asked, halo_new = _asked(zones == HALO, before == HALO, _FIELD_LATENTS)
    if at >= 0:
        at = pull_marks(
            words, states, at, turn, halo_asked, coder.starts, coder.slots, halo_changed
        )
        turn += int(halo_asked.sum())
    halo_changed |= halo_new
    told, inside = zones != UNTOLD, _whole(changed | halo_changed, _FIELD_LATENTS)
    if ((zones != before) & told & ~inside).any():
        raise PayloadError("payload: a field that did not change is of another zone than before")
    cells = ToldCells.of(np.where(inside, zones, UNTOLD))
    latents = np.zeros((len(cells.zones), tables.channels), np.int8)
    if at >= 0:
        context = tables.context(frame.rate)
        at = cells.pull(words, states, at, turn, context, coder, latents)
    require_end(at, words, states)
    spread = _spread(reference, before)
    spread[inside & told] = latents
    return replace(frame, latents=np.ascontiguousarray(spread[told].T))


def _of_a_kind(frame: CodedFrame, reference: CodedFrame) -> bool:
    """Whether one can be told against the other."""
    return all(
        getattr(frame, name) == getattr(reference, name)
        for name in ("rate", "halo", "grid_hw", "patch_hw")
    )


def _spread(
    frame: CodedFrame, zones: UInt8[np.ndarray, "h16 w16"]
) -> Int8[np.ndarray, "h16 w16 k"]:
    """Latents in their places; 0 where none are told."""
    out = np.zeros((*zones.shape, frame.latents.shape[0]), np.int8)
    out[zones != UNTOLD] = frame.latents.T
    return out


def _asked(
    here: Bool[np.ndarray, "h w"], before: Bool[np.ndarray, "h w"], side: int
) -> tuple[Fields, Fields]:
    """Fields of an area that are told to have changed or not, and those that have for sure."""
    now, then = here[::side, ::side], before[::side, ::side]
    return now & then, now & ~then


def _whole(fields: Fields, side: int) -> Bool[np.ndarray, "h w"]:
    """The cells of fields."""
    out: Bool[np.ndarray, "h w"] = fields.repeat(side, 0).repeat(side, 1)
    return out
