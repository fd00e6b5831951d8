"""Which cells of the latents are told, and how near each is to what the seeker takes for objects.

    marks (stride 8) ─ any of 2x2 ─> marked cells of the latents ─> zone 0
    patches ─────────┐               └─ their 8 neighbours ───────> zone 1
                     │                  the rest of the patches ──> zone 2
                     └─ fields beside them, where enough is marked ─> the halo, zone 3

Each rate has steps of its own in each zone, so that the ground round objects is told in fewer bits
than the objects, and what lies beyond the patches in hardly any: the halo gives the deep part its
context back, no object is looked for in it. Patches and marks travel first, so both ends derive the
same zones from the same integers.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from sparsight.geometry import ALIGN_CELLS

ZONES = 4
REACHES = (0, 1)
"""Cells of the latents that zones 0 and 1 reach beyond a marked one, along both axes."""

HALO = 3
"""The zone of the halo."""

UNTOLD = 255
"""In a map of zones: a cell of which nothing is sent."""

LATENT_CELLS = 2
"""Side of a latent's cell, in cells of P3."""

HALO_MAX = 9 * ALIGN_CELLS**2
"""The most marked cells that a field of the halo may need: all of the nine fields around it."""


def zones_of(
    marks: Bool[np.ndarray, "gh gw"], union: Bool[np.ndarray, "gh gw"], halo: int
) -> UInt8[np.ndarray, "h16 w16"]:
    """The zone of every cell of the latents; `UNTOLD` where nothing is sent.

    Args:
        marks: Cells that are worth the head, none outside the union.
        union: Cells under a patch, in whole fields of `ALIGN_CELLS`.
        halo: Fields beside a patch are told, too, if at least so many cells are marked in the nine
            fields around them; 0 for no halo.
    """
    near = any_in_squares(marks, LATENT_CELLS)
    zones = np.full(near.shape, len(REACHES), np.uint8)
    for zone in reversed(range(len(REACHES))):
        zones[_reached(near, REACHES[zone])] = zone
    inside = union[::LATENT_CELLS, ::LATENT_CELLS]
    zones[~inside] = UNTOLD
    if halo:
        fields = ALIGN_CELLS // LATENT_CELLS
        beside = _halo(marks, union, halo).repeat(fields, 0).repeat(fields, 1)
        zones[beside] = HALO
    return zones


def told(zones: UInt8[np.ndarray, "h16 w16"]) -> Bool[np.ndarray, "gh gw"]:
    """The cells of P3 of which something is sent: what the deep part sees."""
    out: Bool[np.ndarray, "gh gw"] = (
        (zones != UNTOLD).repeat(LATENT_CELLS, 0).repeat(LATENT_CELLS, 1)
    )
    return out


def any_in_squares(cells: Bool[np.ndarray, "gh gw"], side: int) -> Bool[np.ndarray, "h w"]:
    """Whether one of each square of cells is true; sides are multiples of the square's."""
    h, w = cells.shape
    out: Bool[np.ndarray, "h w"] = cells.reshape(h // side, side, w // side, side).max((1, 3))
    return out


def _halo(
    marks: Bool[np.ndarray, "gh gw"], union: Bool[np.ndarray, "gh gw"], least: int
) -> Bool[np.ndarray, "fh fw"]:
    """The fields of the halo."""
    patches = union[::ALIGN_CELLS, ::ALIGN_CELLS]
    h, w = patches.shape
    counts = marks.reshape(h, ALIGN_CELLS, w, ALIGN_CELLS).sum((1, 3), dtype=np.int32)
    out: Bool[np.ndarray, "fh fw"] = _reached(patches, 1) & ~patches & (_around(counts) >= least)
    return out


def _around(counts: Int32[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    """Sums over each cell and its eight neighbours."""
    wide = np.pad(counts, 1)
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    out: Int32[np.ndarray, "h w"] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return out


def _reached(near: Bool[np.ndarray, "h w"], reach: int) -> Bool[np.ndarray, "h w"]:
    """Cells within a square reach of a true one: a row's maximum, then a column's."""
    out = near.copy()
    for axis in (0, 1):
        before = out.copy()
        for by in range(1, reach + 1):
            ahead: list[slice] = [slice(None), slice(None)]
            behind: list[slice] = [slice(None), slice(None)]
            ahead[axis], behind[axis] = slice(by, None), slice(None, -by)
            out[tuple(ahead)] |= before[tuple(behind)]
            out[tuple(behind)] |= before[tuple(ahead)]
    return out
