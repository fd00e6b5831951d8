"""A heat map told in advance, for weights that are not trained.

What patches save depends on how much of the frame is kept, not on what is seen. Where there are no
trained weights a seeded heat map therefore says where patches lie; the seeker still runs and is
still paid for.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from sparsight.errors import UsageError
from sparsight.slicer import SlicerSettings, slice_heat


class GivenHeat(nn.Module):
    """Stands in for a seeker: runs it, but answers with another heat where the grid's size fits."""

    def __init__(self, seeker: nn.Module, heat: Float32[np.ndarray, "gh gw"]) -> None:
        super().__init__()
        self.seeker = seeker
        self.logits = torch.logit(torch.from_numpy(heat), eps=1e-4)

    def forward(self, p3: Float[Tensor, "1 c gh gw"]) -> Float[Tensor, "1 gh gw"]:
        """P3 -> logits of the given heat; the seeker's own for a grid of another size."""
        own: Tensor = self.seeker(p3)
        fits = own.shape[1:] == self.logits.shape
        return self.logits[None].to(own.device) if fits else own


def seeded_heat(
    grid_hw: tuple[int, int], slicer: SlicerSettings, share: float, seed: int = 0
) -> Float32[np.ndarray, "gh gw"]:
    """A heat map that makes a slicer keep about this share of the grid, to half a patch.

    Blobs of a patch's size stand in fields of a grid of patches, drawn at random, as many as it
    takes: where neighbours meet, the slicer lets patches overlap.

    Args:
        grid_hw: Height and width of the P3 map, in cells.
        slicer: How the heat will be cut.
        share: Share of the grid to keep, in (0, 1].
        seed: Which fields.

    Raises:
        UsageError: Blobs in all fields don't make it keep so much.
    """
    (gh, gw), (ph, pw) = grid_hw, slicer.patch_hw
    columns, fields = gw // pw, gh // ph * (gw // pw)
    order = np.random.default_rng(seed).permutation(fields)
    y, x = np.arange(gh)[:, None], np.arange(gw)[None, :]
    heat: Float32[np.ndarray, "gh gw"] = np.zeros(grid_hw, np.float32)
    enough = share - ph * pw / (gh * gw) / 2
    for field in order.tolist():
        y0, x0 = field // columns * ph + ph // 2, field % columns * pw + pw // 2
        # Above 0.1 nearly as far as the patch reaches.
        reach = ((y - y0) / ph) ** 2 + ((x - x0) / pw) ** 2
        heat = np.maximum(heat, np.exp(-reach * 4.6**2 / 2).astype(np.float32))
        if slice_heat(heat, slicer).kept_area >= enough:
            return heat
    raise UsageError(
        f"share {share}: {gh}x{gw} cells hold {fields} fields of {ph}x{pw}; blobs in all of them "
        "keep less; ask for less"
    )
