"""Heat to patches: which fixed-size windows of the P3 map are worth the deep layers.

    heat [gh, gw] ─ peaks ─> targets (extent, heat) ─ cover ─> patches, best first

Every local maximum of the heat may be an object. Windows start at multiples of `ALIGN_CELLS`, gain
the weight of the targets that they hold, and are taken best first until none is worth its cost or
the budget is used. A longer budget extends the list of a shorter one.

A peak weighs as its heat cubed. A seeker is trained to miss nothing and so calls too much an
object: of the peaks around 0.5 a quarter are, of those around 0.85 nearly all, and false ones come
in swarms. Weighed by their heat they cost 20 % more area at equal coverage (docs/LOG.md).

Method: ESOD (Liu et al., arXiv 2407.16424), section AdaSlicer. The paper gives each occupied field
of a coarse grid one window; here windows are placed freely and share their targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32

from sparsight.cover import cover
from sparsight.errors import BundleError, UsageError
from sparsight.geometry import ALIGN_CELLS
from sparsight.peaks import find_targets

WEIGHT_POWER = 3.0
"""A peak weighs as its heat to this power."""

FAINT = 0.35
"""Heat over the threshold from which a peak counts at all; there it weighs 1/23 of one at it."""


@dataclass(frozen=True, slots=True)
class SlicerSettings:
    """How a heat map is cut.

    Attributes:
        patch_hw: Height and width of a patch in cells, multiples of `ALIGN_CELLS`.
        threshold: Heat in (0, 1] from which a lone peak is worth a patch; fainter ones add up.
        min_gain: What a patch must add, in peaks at the threshold: 2 gives none to a lone one.
        max_patches: At most this many patches, the best ones; None for no limit.
    """

    patch_hw: tuple[int, int] = (16, 16)
    threshold: float = 0.55
    min_gain: float = 1.0
    max_patches: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be cut.

        Raises:
            UsageError: A value outside its range.
        """
        if any(side <= 0 or side % ALIGN_CELLS for side in self.patch_hw):
            raise UsageError(
                f"patch_hw: expected two positive multiples of {ALIGN_CELLS} cells, "
                f"got {self.patch_hw}"
            )
        if not 0 < self.threshold <= 1:
            raise UsageError(f"threshold: expected a heat in (0, 1], got {self.threshold}")
        if not 0 < self.min_gain < math.inf:
            raise UsageError(f"min_gain: expected a number of peaks above 0, got {self.min_gain}")
        if self.max_patches is not None and self.max_patches < 0:
            raise UsageError(f"max_patches: expected 0 or more, or None, got {self.max_patches}")


@dataclass(frozen=True, slots=True)
class Patches:
    """The windows kept of one frame, best first.

    Attributes:
        origins_yx: Top left cell of each patch, multiples of `ALIGN_CELLS`.
        gains: What the patch adds to those before it: a sure object adds 1; never rising.
        size_hw: Height and width of every patch, in cells; a patch may stick out of a smaller grid.
        grid_hw: Height and width of the P3 map, in cells.
    """

    origins_yx: Int32[np.ndarray, "n 2"]
    gains: Float32[np.ndarray, " n"]
    size_hw: tuple[int, int]
    grid_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.gains)

    def xyxy_cells(self) -> Int32[np.ndarray, "n 4"]:
        """Corners in cells, half-open, clipped to the grid."""
        size, grid = np.array(self.size_hw, np.int32), np.array(self.grid_hw, np.int32)
        far = np.minimum(self.origins_yx + size, grid)
        return np.concatenate((self.origins_yx[:, ::-1], far[:, ::-1]), axis=1)

    def union(self) -> Bool[np.ndarray, "gh gw"]:
        """The cells under at least one patch."""
        x0, y0, x1, y1 = self.xyxy_cells().T
        corners = np.zeros((self.grid_hw[0] + 1, self.grid_hw[1] + 1), np.int32)
        for y, x, sign in ((y0, x0, 1), (y1, x1, 1), (y0, x1, -1), (y1, x0, -1)):
            np.add.at(corners, (y, x), sign)
        out: Bool[np.ndarray, "gh gw"] = corners.cumsum(0).cumsum(1)[:-1, :-1] > 0
        return out

    @property
    def occupancy(self) -> float:
        """Patch areas over the grid's area, overlaps counted twice (ESOD's Occupy)."""
        x0, y0, x1, y1 = self.xyxy_cells().T
        return float(np.sum((x1 - x0) * (y1 - y0))) / (self.grid_hw[0] * self.grid_hw[1])

    @property
    def kept_area(self) -> float:
        """Share of the grid under at least one patch: what the deep layers run on."""
        return float(np.mean(self.union()))


def slice_heat(heat: Float32[np.ndarray, "gh gw"], settings: SlicerSettings) -> Patches:
    """Choose the patches of one frame.

    Args:
        heat: Object probability at stride 8, in [0, 1].
        settings: Patch size, threshold and budget.

    Returns:
        Patches, best first; none where no heat reaches the threshold.

    Raises:
        BundleError: The heat holds NaN or infinity.
        UsageError: The heat is no float32 map with at least one cell.
    """
    if heat.ndim != 2 or heat.dtype != np.float32 or heat.size == 0:
        raise UsageError(
            "heat: expected a float32 map [gh, gw] of at least one cell, "
            f"got {heat.dtype} {list(heat.shape)}"
        )
    if not np.isfinite(heat).all():
        raise BundleError(
            f"heat: expected probabilities, got {np.count_nonzero(~np.isfinite(heat))} cells that "
            "are NaN or infinite: the bundle's weights or the engine's precision are at fault"
        )
    grid_hw = (heat.shape[0], heat.shape[1])
    extents, peaks = find_targets(
        np.ascontiguousarray(heat), FAINT * settings.threshold, *settings.patch_hw
    )
    origins, gains = cover(
        extents,
        (peaks / settings.threshold) ** WEIGHT_POWER,
        grid_hw,
        settings.patch_hw,
        settings.min_gain,
        heat.size if settings.max_patches is None else min(settings.max_patches, heat.size),
    )
    gains *= np.float32(settings.threshold**WEIGHT_POWER)
    return Patches(origins, gains, settings.patch_hw, grid_hw)
