"""Heat to targets: where objects may be, how far they reach, how hot they are.

A target is a local maximum of the heat, and its extent is walked from
the maximum up, down, left and right for as long as the heat falls and stays above half of the
maximum (the heat is trained to be half at an object's border). Equal neighbours are one maximum. An
object larger than a patch becomes several targets, each of a patch's size at most, so that the
patches that cover it show the deep layers all of it.
"""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Float32, Float64, Int64

from sparsight.geometry import ALIGN_CELLS

BORDER_SHARE = 0.5
"""Heat at an object's border over the heat at its maximum (ESOD's Gaussian labels)."""


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def find_targets(
    heat: Float32[np.ndarray, "gh gw"], faint: float, patch_h: int, patch_w: int
) -> tuple[Int64[np.ndarray, "n 4"], Float64[np.ndarray, " n"]]:
    """Targets of one frame, in raster order of their maxima.

    Args:
        heat: Object probability of each cell, finite.
        faint: Maxima below it are no targets.
        patch_h: Height of a patch in cells, a multiple of `ALIGN_CELLS`.
        patch_w: Width of a patch in cells, a multiple of `ALIGN_CELLS`.

    Returns:
        Extents (top, left, bottom, right) in cells, half-open, and the heat of their maxima.
    """
    gh, gw = heat.shape
    seen = np.zeros((gh, gw), np.bool_)
    stack = np.empty(gh * gw, np.int64)
    extents = np.empty((256, 4), np.int64)
    peaks = np.empty(256, np.float64)
    count = 0
    for y in range(gh):
        for x in range(gw):
            if heat[y, x] < faint or seen[y, x]:
                continue
            is_peak, top, left, bottom, right = _extent(heat, y, x, seen, stack)
            if not is_peak:
                continue
            ys = _cuts(top, bottom, patch_h)
            xs = _cuts(left, right, patch_w)
            for r in range(len(ys) - 1):
                for c in range(len(xs) - 1):
                    if count == len(peaks):
                        extents = np.concatenate((extents, np.empty_like(extents)))
                        peaks = np.concatenate((peaks, np.empty_like(peaks)))
                    extents[count, 0], extents[count, 1] = ys[r], xs[c]
                    extents[count, 2], extents[count, 3] = ys[r + 1], xs[c + 1]
                    peaks[count] = heat[y, x]
                    count += 1
    return extents[:count].copy(), peaks[:count].copy()


@numba.njit(cache=True)
def _extent(heat, y, x, seen, stack):  # type: ignore[no-untyped-def]
    """Flood the cells equal to (y, x); whether they are a maximum, and its extent, half-open."""
    gh, gw = heat.shape
    value = heat[y, x]
    is_peak = True
    # The plateau's outermost cells, from which its four flanks are walked.
    top, top_x, bottom, bottom_x = y, x, y, x
    left, left_y, right, right_y = x, y, x, y
    seen[y, x] = True
    stack[0] = y * gw + x
    held = 1
    while held:
        held -= 1
        cy, cx = stack[held] // gw, stack[held] % gw
        for ny in range(max(cy - 1, 0), min(cy + 2, gh)):
            for nx in range(max(cx - 1, 0), min(cx + 2, gw)):
                if heat[ny, nx] > value:
                    is_peak = False
                elif heat[ny, nx] == value and not seen[ny, nx]:
                    seen[ny, nx] = True
                    stack[held] = ny * gw + nx
                    held += 1
                    if ny < top:
                        top, top_x = ny, nx
                    if ny > bottom:
                        bottom, bottom_x = ny, nx
                    if nx < left:
                        left, left_y = nx, ny
                    if nx > right:
                        right, right_y = nx, ny
    if is_peak:
        border = np.float32(BORDER_SHARE) * value
        while top > 0 and border <= heat[top - 1, top_x] <= heat[top, top_x]:
            top -= 1
        while bottom + 1 < gh and border <= heat[bottom + 1, bottom_x] <= heat[bottom, bottom_x]:
            bottom += 1
        while left > 0 and border <= heat[left_y, left - 1] <= heat[left_y, left]:
            left -= 1
        while right + 1 < gw and border <= heat[right_y, right + 1] <= heat[right_y, right]:
            right += 1
    return is_peak, top, left, bottom + 1, right + 1


@numba.njit(cache=True)
def _cuts(low, high, patch):  # type: ignore[no-untyped-def]
    """Where an extent is cut into about equal parts that a patch can hold.

    Inner cuts are multiples of `ALIGN_CELLS`, as the borders of patches are.
    """
    parts = -(-(high - low) // patch)
    cuts = low + np.arange(parts + 1) * (high - low) // parts
    cuts[1:-1] = (cuts[1:-1] + ALIGN_CELLS // 2) // ALIGN_CELLS * ALIGN_CELLS
    return cuts
