"""What the seeker should say: Gaussian heat.

A box becomes an elliptical Gaussian that is 1 at its centre and 0.5 at its border and is cut off
there (ESOD §III-B, Eq. 3; the support is the inscribed ellipse). A cell takes the largest value
inside it, so that a box smaller than a cell still marks one. With instance masks the heat of a cell
is at least half where the mask is and zero where a trusted mask isn't.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from jaxtyping import Bool, Float32

from sparsight.geometry import CELL_PX

BORDER = 0.5
"""Heat at the border of a box."""

SMALL_PX2 = 1600.0
"""Boxes below this area weigh more in the seeker's loss, by the logarithm of how much they lack."""


MISSED = 0.03
"""Share of objects that a training sample's patches leave out."""


def draw_heat(
    xyxy: Float32[np.ndarray, "n 4"], grid_hw: tuple[int, int]
) -> tuple[Float32[np.ndarray, "gh gw"], Float32[np.ndarray, "gh gw"]]:
    """Heat and loss weight of every cell.

    Args:
        xyxy: Boxes in input pixels.
        grid_hw: Height and width of the P3 map, in cells.

    Returns:
        Heat in [0, 1], and weight: 1 on background, 1 + ln(1600 px² / area) on small objects.
    """
    heat, weight = np.zeros(grid_hw, np.float32), np.ones(grid_hw, np.float32)
    _draw(np.ascontiguousarray(xyxy), heat, weight)
    return heat, weight


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _draw(
    xyxy: Float32[np.ndarray, "n 4"],
    heat: Float32[np.ndarray, "gh gw"],
    weight: Float32[np.ndarray, "gh gw"],
) -> None:
    rate = math.log(BORDER)
    for i in range(len(xyxy)):
        x0, y0, x1, y1 = xyxy[i]
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        rx, ry = max((x1 - x0) / 2, 0.5), max((y1 - y0) / 2, 0.5)
        gain = 1.0 + max(0.0, math.log(SMALL_PX2 / max(1.0, 4 * rx * ry)))
        for y in range(max(0, int(y0 // CELL_PX)), min(heat.shape[0], int(y1 // CELL_PX) + 1)):
            dy = (min(max(cy, y * CELL_PX), (y + 1) * CELL_PX) - cy) / ry
            for x in range(max(0, int(x0 // CELL_PX)), min(heat.shape[1], int(x1 // CELL_PX) + 1)):
                dx = (min(max(cx, x * CELL_PX), (x + 1) * CELL_PX) - cx) / rx
                value = math.exp(rate * (dx * dx + dy * dy))
                if value >= BORDER:
                    heat[y, x] = max(heat[y, x], value)
                    weight[y, x] = max(weight[y, x], gain)


def with_masks(
    heat: Float32[np.ndarray, "gh gw"],
    masks: Bool[np.ndarray, "gh gw"],
    boxes: Bool[np.ndarray, "gh gw"],
) -> Float32[np.ndarray, "gh gw"]:
    """Hybrid labels: Gaussian heat shaped by instance masks (ESOD Eq. 4, with its code's union).

    Args:
        heat: Heat of all boxes.
        masks: Cells under a mask.
        boxes: Cells under a box that has a mask; elsewhere the heat stays as it is.
    """
    shaped = np.where(boxes & ~masks, np.float32(0.0), heat)
    return np.where(masks, np.maximum(shaped, np.float32(BORDER)), shaped).astype(np.float32)


def random_kept_area(
    heat: Float32[np.ndarray, "gh gw"], patch_cells: int, extra: float, rng: np.random.Generator
) -> Bool[np.ndarray, "gh gw"]:
    """A kept area such as the slicer may cut: patches over the objects, and some over nothing.

    Offsets are random, and one object in thirty-three is missed, as a seeker misses some. Training
    deep layers on it is training on patches as they will be cut.

    Args:
        heat: Labels of the crop; its sides are multiples of four cells.
        patch_cells: Side of a patch, a multiple of four cells.
        extra: Patches on background, as a share of those on objects.
        rng: Source of chance.
    """
    step = 4
    th, tw = heat.shape[0] // step, heat.shape[1] // step
    side = min(patch_cells // step, th, tw)
    hot = np.argwhere(heat.reshape(th, step, tw, step).max((1, 3)) >= BORDER)
    covered = np.zeros((th, tw), bool)
    order = rng.permutation(len(hot))
    for y, x in hot[order].tolist():
        if not covered[y, x] and rng.random() > MISSED:
            _put(covered, y, x, side, rng)
    extras = rng.poisson(extra * max(1.0, covered.sum() / side**2))
    ys, xs = rng.integers(0, th, extras), rng.integers(0, tw, extras)
    for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
        _put(covered, y, x, side, rng)
    return covered.repeat(step, 0).repeat(step, 1)


def _put(
    covered: Bool[np.ndarray, "th tw"], y: int, x: int, side: int, rng: np.random.Generator
) -> None:
    top = min(max(y - int(rng.integers(0, side)), 0), covered.shape[0] - side)
    left = min(max(x - int(rng.integers(0, side)), 0), covered.shape[1] - side)
    covered[top : top + side, left : left + side] = True
