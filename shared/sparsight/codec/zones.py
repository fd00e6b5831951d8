"""How near each cell of the latents is to what the seeker takes for objects: three zones.

    marks (stride 8) ─ any of 2x2 ─> marked cells of the latents ─> zone 0
                                     └─ their 8 neighbours ───────> zone 1
                                        the rest of the kept area ─> zone 2

Each rate has steps of its own in each zone, so that the ground round objects is told in fewer bits
than the objects. Marks travel first, so both ends derive the same zones from the same integers.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

ZONES = 3
REACHES = (0, 1)
"""Cells of the latents that zones 0 and 1 reach beyond a marked one, along both axes."""

LATENT_CELLS = 2
"""Side of a latent's cell, in cells of P3."""


def zones_of(marks: Bool[np.ndarray, "gh gw"]) -> UInt8[np.ndarray, "h16 w16"]:
    """The zone of every cell of the latents, kept or not.

    Args:
        marks: Cells that are worth the head; sides are even.
    """
    h, w = marks.shape
    blocks = marks.reshape(h // LATENT_CELLS, LATENT_CELLS, w // LATENT_CELLS, LATENT_CELLS)
    near: Bool[np.ndarray, "h16 w16"] = blocks.max((1, 3))
    zones = np.full(near.shape, len(REACHES), np.uint8)
    for zone in reversed(range(len(REACHES))):
        zones[_reached(near, REACHES[zone])] = zone
    return zones


def zones_of_kept(
    marks: Bool[np.ndarray, "gh gw"], union: Bool[np.ndarray, "gh gw"]
) -> UInt8[np.ndarray, " n16"]:
    """The zones of the kept cells of the latents, row by row.

    Args:
        marks: Cells that are worth the head, none outside the union.
        union: Cells under a patch; each cell of the latents is in or out as a whole.
    """
    kept: UInt8[np.ndarray, " n16"] = zones_of(marks)[union[::LATENT_CELLS, ::LATENT_CELLS]]
    return kept


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
