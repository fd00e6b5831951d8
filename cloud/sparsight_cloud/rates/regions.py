"""One picture of the whole frame, fine where objects may be and coarse elsewhere.

    picture ─┬─────────────────── where the mask is ────┐
             └─ 1/16 ─ back to size ─ elsewhere ────────┴─> picture, then coded as one

A still-picture codec spends next to nothing on the smooth part, so this is the strongest way of
sending pixels that needs no standard of its own.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool

from sparsight.geometry import CELL_PX, Letterbox
from sparsight_cloud.rates.streams import Picture

COARSER = 16
"""How much smaller the part without objects is made before it is blown up again."""

NEAR_PX = 24
"""Pixels of the input round each marked cell that stay fine."""


def near_marks(marks: Bool[np.ndarray, "gh gw"]) -> Bool[np.ndarray, "gh gw"]:
    """Marked cells and those within `NEAR_PX`."""
    side = 2 * (NEAR_PX // CELL_PX) + 1
    grown = cv2.dilate(marks.astype(np.uint8), np.ones((side, side), np.uint8))
    out: Bool[np.ndarray, "gh gw"] = grown > 0
    return out


def fine_and_coarse(picture: Picture, fine: Bool[np.ndarray, "gh gw"], box: Letterbox) -> Picture:
    """The picture with its ground made coarse.

    Args:
        picture: The frame's picture, of any scale.
        fine: Cells of the input that stay as they are.
        box: How the frame lies in the network's input.
    """
    h, w = picture.shape[:2]
    ys = _cells(h, box.scaled_hw[0])
    xs = _cells(w, box.scaled_hw[1])
    mask = fine[ys[:, None], xs[None]]
    small = (max(1, w // COARSER), max(1, h // COARSER))
    ground = cv2.resize(
        cv2.resize(picture, small, interpolation=cv2.INTER_AREA),
        (w, h),
        interpolation=cv2.INTER_LINEAR,
    )
    return np.where(mask[..., None], picture, ground)


def _cells(side_px: int, scaled_px: int) -> np.ndarray:
    """The cell of the input that each row or column of a picture lies in."""
    return ((np.arange(side_px) + 0.5) * (scaled_px / side_px) / CELL_PX).astype(np.int64)
