"""From what the device half knows of a frame to what is sent: the latents under its patches.

heat ─ marks, inside the patches ─┬───────────────────────────────────────────────────┐
                                  └─ zones ─┐                                         │
latents, in the steps of each zone ─────────┴─ of told cells, in their own's ─────────┴─> CodedFrame
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int8

from sparsight.codec.payload import CodedFrame
from sparsight.codec.zones import UNTOLD, zones_of
from sparsight.slicer import Patches


def cut_frame(
    latents: Int8[np.ndarray, "z k h16 w16"],
    patches: Patches,
    marks: Bool[np.ndarray, "gh gw"],
    rate: int,
    halo: int,
) -> CodedFrame:
    """What is sent of a frame.

    Args:
        latents: Of the whole frame, in units of the rate's steps in each zone.
        patches: What the slicer kept of it.
        marks: Cells that are worth the head; those outside the patches are left out.
        rate: Index of the quality level.
        halo: Marks that a field of the halo needs around it; 0 for none (`codec.zones`).
    """
    union = patches.union()
    marks = marks & union
    cells = latents.reshape(*latents.shape[:2], -1)
    zones = zones_of(marks, union, halo).reshape(-1)
    told = np.flatnonzero(zones != UNTOLD)
    own = cells[zones[told], :, told].T
    return CodedFrame(
        rate=rate,
        halo=halo,
        grid_hw=patches.grid_hw,
        patch_hw=patches.size_hw,
        origins_yx=patches.origins_yx,
        marks=marks,
        latents=np.ascontiguousarray(own),
    )
