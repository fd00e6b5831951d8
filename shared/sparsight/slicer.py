"""Heat to patches: which fixed-size windows of the P3 map are worth the deep layers.

    heat [gh, gw] ──peaks──> objects (place, extent, probability) ──greedy cover──> patches, best first

Every local maximum of the heat is a likely object. A window whose origin is a multiple of
`ALIGN_CELLS` gains the probability of each object that it holds and that no earlier window holds;
the best window is taken until nothing worth having is left or the budget is used. That is greedy
weighted maximum coverage: gains only fall, and a longer budget extends the list of a shorter one.

Method: ESOD (Liu et al., arXiv 2407.16424), section AdaSlicer; the paper gives each occupied cell of
a coarse grid one window, here windows are placed freely and share their objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Bool, Float32, Int32

from sparsight.errors import BundleError, UsageError
from sparsight.geometry import ALIGN_CELLS


@dataclass(frozen=True, slots=True)
class SlicerSettings:
    """How a heat map is cut.

    Attributes:
        patch_hw: Height and width of a patch in cells, multiples of `ALIGN_CELLS`.
        threshold: Heat in (0, 1] from which a peak counts as an object, and the least gain of a patch.
        max_patches: At most this many patches, the best ones; None for no limit.
    """

    patch_hw: tuple[int, int] = (16, 16)
    threshold: float = 0.3
    max_patches: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be cut.

        Raises:
            UsageError: A value outside its range.
        """
        if any(side <= 0 or side % ALIGN_CELLS for side in self.patch_hw):
            raise UsageError(
                f"patch_hw: expected two positive multiples of {ALIGN_CELLS} cells, got {self.patch_hw}"
            )
        if not 0 < self.threshold <= 1:
            raise UsageError(f"threshold: expected a heat in (0, 1], got {self.threshold}")
        if self.max_patches is not None and self.max_patches < 0:
            raise UsageError(f"max_patches: expected 0 or more, or None, got {self.max_patches}")


@dataclass(frozen=True, slots=True)
class Patches:
    """The windows kept of one frame, best first.

    Attributes:
        origins_yx: Top left cell of each patch, multiples of `ALIGN_CELLS`.
        gains: Expected number of objects that the patch holds and no earlier one; never rising.
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
        far = np.minimum(self.origins_yx + np.int32(self.size_hw), np.int32(self.grid_hw))
        return np.concatenate((self.origins_yx[:, ::-1], far[:, ::-1]), axis=1)

    def union(self) -> Bool[np.ndarray, "gh gw"]:
        """The cells under at least one patch."""
        kept = np.zeros(self.grid_hw, np.bool_)
        for x0, y0, x1, y1 in self.xyxy_cells():
            kept[y0:y1, x0:x1] = True
        return kept

    @property
    def occupancy(self) -> float:
        """Patch areas inside the grid over the grid's area, overlaps counted twice (ESOD's Occupy)."""
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
            f"heat: expected a float32 map [gh, gw] of at least one cell, got {heat.dtype} {heat.shape}"
        )
    if not np.isfinite(heat).all():
        raise BundleError(
            f"heat: expected probabilities, got {np.count_nonzero(~np.isfinite(heat))} cells that are NaN "
            "or infinite; the bundle's weights or the engine's precision are at fault"
        )
    heat = np.ascontiguousarray(heat)
    boxes_yxyx, weights = _targets(heat, settings.threshold, *settings.patch_hw)
    limit = heat.size if settings.max_patches is None else min(settings.max_patches, heat.size)
    origins, gains = _cover(
        boxes_yxyx, weights, *heat.shape, *settings.patch_hw, ALIGN_CELLS, settings.threshold, limit
    )
    return Patches(origins, gains, settings.patch_hw, (heat.shape[0], heat.shape[1]))


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _targets(heat, threshold, ph, pw):  # type: ignore[no-untyped-def]
    """Peaks of the heat with their extents, cut into patch-sized parts where they are larger."""
    gh, gw = heat.shape
    seen = np.zeros((gh, gw), np.bool_)
    stack = np.empty(gh * gw, np.int32)
    boxes = []
    weights = []
    for y in range(gh):
        for x in range(gw):
            top = heat[y, x]
            if top < threshold or seen[y, x]:
                continue
            is_peak = True
            y0, y1, x0, x1 = y, y, x, x  # extreme cells of the plateau
            xt, xb, yl, yr = x, x, y, y
            seen[y, x] = True
            stack[0] = y * gw + x
            held = 1
            while held:
                held -= 1
                cy, cx = stack[held] // gw, stack[held] % gw
                for ny in range(max(cy - 1, 0), min(cy + 2, gh)):
                    for nx in range(max(cx - 1, 0), min(cx + 2, gw)):
                        value = heat[ny, nx]
                        if value > top:
                            is_peak = False
                        elif value == top and not seen[ny, nx]:
                            seen[ny, nx] = True
                            stack[held] = ny * gw + nx
                            held += 1
                            if ny < y0:
                                y0, xt = ny, nx
                            if ny > y1:
                                y1, xb = ny, nx
                            if nx < x0:
                                x0, yl = nx, ny
                            if nx > x1:
                                x1, yr = nx, ny
            if not is_peak:
                continue
            fall = 0.5 * top
            while y0 > 0 and fall <= heat[y0 - 1, xt] <= heat[y0, xt]:
                y0 -= 1
            while y1 + 1 < gh and fall <= heat[y1 + 1, xb] <= heat[y1, xb]:
                y1 += 1
            while x0 > 0 and fall <= heat[yl, x0 - 1] <= heat[yl, x0]:
                x0 -= 1
            while x1 + 1 < gw and fall <= heat[yr, x1 + 1] <= heat[yr, x1]:
                x1 += 1
            rows = -(-(y1 + 1 - y0) // ph)
            cols = -(-(x1 + 1 - x0) // pw)
            for r in range(rows):
                for c in range(cols):
                    boxes.append(
                        (
                            y0 + r * (y1 + 1 - y0) // rows,
                            x0 + c * (x1 + 1 - x0) // cols,
                            y0 + (r + 1) * (y1 + 1 - y0) // rows,
                            x0 + (c + 1) * (x1 + 1 - x0) // cols,
                        )
                    )
                    weights.append(np.float64(top))
    out = np.empty((len(boxes), 4), np.int64)
    for i, box in enumerate(boxes):
        for k in range(4):
            out[i, k] = box[k]
    return out, np.array(weights, np.float64)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _share(box, oy, ox, ph, pw):  # type: ignore[no-untyped-def]
    """How well a window holds a box: its share inside, 0 when not more than half."""
    h = min(box[2], oy + ph) - max(box[0], oy)
    w = min(box[3], ox + pw) - max(box[1], ox)
    if h <= 0 or w <= 0:
        return 0.0
    share = h * w / ((box[2] - box[0]) * (box[3] - box[1]))
    return share if share > 0.5 else 0.0


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _cover(boxes, weights, gh, gw, ph, pw, align, least, limit):  # type: ignore[no-untyped-def]
    """Greedy weighted cover of the boxes by windows."""
    n = len(weights)
    rows = -(-max(gh - ph, 0) // align) + 1
    cols = -(-max(gw - pw, 0) // align) + 1
    reach = np.empty((n, 4), np.int64)  # candidate rows and columns that touch a box, half-open
    best = np.zeros(n, np.float64)  # how well the taken windows hold it
    most = np.zeros(n, np.float64)  # how well any window can
    gains = np.zeros((rows, cols), np.float64)
    for i in range(n):
        reach[i, 0] = min(max(-(-(boxes[i, 0] - ph + 1) // align), 0), rows - 1)
        reach[i, 1] = min((boxes[i, 2] - 1) // align + 1, rows)
        reach[i, 2] = min(max(-(-(boxes[i, 1] - pw + 1) // align), 0), cols - 1)
        reach[i, 3] = min((boxes[i, 3] - 1) // align + 1, cols)
        for r in range(reach[i, 0], reach[i, 1]):
            for c in range(reach[i, 2], reach[i, 3]):
                most[i] = max(most[i], _share(boxes[i], r * align, c * align, ph, pw))
        if most[i] > 0:
            for r in range(reach[i, 0], reach[i, 1]):
                for c in range(reach[i, 2], reach[i, 3]):
                    share = _share(boxes[i], r * align, c * align, ph, pw)
                    gains[r, c] += weights[i] * share / most[i]
    limit = min(limit, rows * cols)  # no window is worth taking twice
    origins = np.empty((limit, 2), np.int32)
    taken = np.empty(limit, np.float32)
    count = 0
    while count < limit:
        at = np.argmax(gains)
        ry, rx = at // cols, at % cols
        gain = gains[ry, rx]
        if gain < least - 1e-6:
            break
        origins[count, 0] = ry * align
        origins[count, 1] = rx * align
        taken[count] = gain if count == 0 else min(np.float32(gain), taken[count - 1])
        count += 1
        for i in range(n):
            if not (reach[i, 0] <= ry < reach[i, 1] and reach[i, 2] <= rx < reach[i, 3]):
                continue
            now = _share(boxes[i], ry * align, rx * align, ph, pw)
            if now <= best[i]:
                continue
            for r in range(reach[i, 0], reach[i, 1]):
                for c in range(reach[i, 2], reach[i, 3]):
                    share = _share(boxes[i], r * align, c * align, ph, pw)
                    lost = min(share, now) - best[i]
                    if lost > 0:
                        gains[r, c] -= weights[i] * lost / most[i]
            best[i] = now
    return origins[:count], taken[:count]
