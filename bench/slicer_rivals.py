"""The two slicers of the ESOD paper, for comparison only.

Liu et al., arXiv 2407.16424, section AdaSlicer, Algorithms 2 (fast) and 1 (greedy), written from
their description. Both call a 3x3 maximum of the heat a peak, and both shift a window so that the
larger of two opposite empty margins goes: an object cut by the other border comes inside. Their
windows start at any cell, not only at multiples of four as ours do.
"""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float32, Int32

from sparsight.slicer import Patches


def paper_fast(
    heat: Float32[np.ndarray, "gh gw"], patch_hw: tuple[int, int], threshold: float
) -> Patches:
    """Algorithm 2: one window for each field of a fixed grid that holds a peak.

    Args:
        heat: Object probability of each cell.
        patch_hw: Height and width of a window and of a grid field, in cells.
        threshold: Heat from which a cell is active.
    """
    origins = _fast(heat, *patch_hw, threshold)
    return _patches(origins, patch_hw, heat)


def paper_greedy(
    heat: Float32[np.ndarray, "gh gw"], patch_hw: tuple[int, int], threshold: float
) -> Patches:
    """Algorithm 1: a square window for each peak, hottest first, unless one already holds it.

    Args:
        heat: Object probability of each cell.
        patch_hw: Height and width in cells; the larger is the window's side.
        threshold: Heat from which a cell is active.
    """
    side = max(patch_hw)
    origins = _greedy(heat, side, threshold)
    return _patches(origins, (side, side), heat)


def _patches(
    origins: Int32[np.ndarray, "n 2"], size_hw: tuple[int, int], heat: Float32[np.ndarray, "gh gw"]
) -> Patches:
    gains = np.ones(len(origins), np.float32)
    return Patches(origins, gains, size_hw, (heat.shape[0], heat.shape[1]))


@numba.njit(cache=True)
@no_type_check
def _is_peak(heat, y, x):
    gh, gw = heat.shape
    for ny in range(max(y - 1, 0), min(y + 2, gh)):
        for nx in range(max(x - 1, 0), min(x + 2, gw)):
            if heat[ny, nx] > heat[y, x]:
                return False
    return True


@numba.njit(cache=True)
@no_type_check
def _trimmed(heat, y, x, ph, pw, threshold):
    """The window shifted over its larger empty margin, clamped to the map."""
    gh, gw = heat.shape
    top, left, bottom, right = ph, pw, -1, -1
    for cy in range(y, min(y + ph, gh)):
        for cx in range(x, min(x + pw, gw)):
            if heat[cy, cx] >= threshold:
                top, bottom = min(top, cy - y), max(bottom, cy - y)
                left, right = min(left, cx - x), max(right, cx - x)
    up, back = ph - 1 - bottom, pw - 1 - right
    y += top if top > up else -up
    x += left if left > back else -back
    return max(min(y, gh - ph), 0), max(min(x, gw - pw), 0)


@numba.njit(cache=True)
@no_type_check
def _fast(heat, ph, pw, threshold):
    gh, gw = heat.shape
    rows, cols = -(-gh // ph), -(-gw // pw)
    hot = np.zeros((rows, cols), np.bool_)
    for y in range(gh):
        for x in range(gw):
            if heat[y, x] >= threshold and _is_peak(heat, y, x):
                hot[y // ph, x // pw] = True
    origins = np.empty((rows * cols, 2), np.int32)
    count = 0
    for r in range(rows):
        for c in range(cols):
            if hot[r, c]:
                y, x = _trimmed(heat, r * ph, c * pw, ph, pw, threshold)
                origins[count, 0], origins[count, 1] = y, x
                count += 1
    return origins[:count]


@numba.njit(cache=True)
@no_type_check
def _greedy(heat, side, threshold):
    gh, gw = heat.shape
    peaks = np.empty((gh * gw, 2), np.int32)
    means = np.empty(gh * gw, np.float64)
    n = 0
    near = max(side // 4, 1)  # half the side of the box that a candidate is ranked by
    for y in range(gh):
        for x in range(gw):
            if heat[y, x] >= threshold and _is_peak(heat, y, x):
                peaks[n, 0], peaks[n, 1] = y, x
                around = heat[
                    max(y - near, 0) : min(y + near, gh), max(x - near, 0) : min(x + near, gw)
                ]
                means[n] = np.mean(around)
                n += 1
    order = np.argsort(-means[:n], kind="mergesort")
    origins = np.empty((n, 2), np.int32)
    count = 0
    for i in order:
        y, x = peaks[i]
        held = False
        for k in range(count):
            if 0 <= y - origins[k, 0] < side and 0 <= x - origins[k, 1] < side:
                held = True
                break
        if held:
            continue
        top = max(min(y - side // 2, gh - side), 0)
        left = max(min(x - side // 2, gw - side), 0)
        ty, tx = _trimmed(heat, top, left, side, side, threshold)
        origins[count, 0], origins[count, 1] = ty, tx
        count += 1
    return origins[:count]
