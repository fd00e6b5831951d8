"""From what the device half knows of a frame to what is sent: the latents under its patches.

latents of the whole frame ─ those of kept cells ─ clipped to the tables ─┐
heat ─ marks, inside the patches ─────────────────────────────────────────┴─> CodedFrame
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int8

from sparsight.codec.payload import CodedFrame
from sparsight.codec.tables import Tables
from sparsight.geometry import CELL_PX
from sparsight.slicer import Patches

LATENT_CELLS = 16 // CELL_PX
"""Cells under the side of a latent; patches start at multiples of it, so each is in or out."""


def cut_frame(
    latents: Int8[np.ndarray, "k h16 w16"],
    patches: Patches,
    marks: Bool[np.ndarray, "gh gw"],
    tables: Tables,
    rate: int,
) -> CodedFrame:
    """What is sent of a frame.

    Args:
        latents: Of the whole frame, in units of the rate's steps.
        patches: What the slicer kept of it.
        marks: Cells that are worth the head; those outside the patches are left out.
        tables: Of the entropy coder; latents beyond them are clipped.
        rate: Index of the quality level.
    """
    union = patches.union()
    low, high = tables.limits(rate)
    inside = latents[:, union[::LATENT_CELLS, ::LATENT_CELLS]]
    return CodedFrame(
        rate=rate,
        grid_hw=patches.grid_hw,
        patch_hw=patches.size_hw,
        origins_yx=patches.origins_yx,
        marks=marks & union,
        latents=np.clip(inside, low[:, None], high[:, None]),
    )
