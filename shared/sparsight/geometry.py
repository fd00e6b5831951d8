"""Boxes, and the way from a frame to the network's input and back.

Boxes are `xyxy` corners in pixels, half-open: a box that covers the whole frame is (0, 0, w, h).
A frame is scaled so that its long side has the input's length and is padded on the right and at the
bottom only, so one factor leads from input pixels back to frame pixels:

    frame (h, w) ──scale──> scaled (h*scale, w*scale) ──pad right/bottom──> input (multiples of 32)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sparsight.errors import UsageError

CELL_PX = 8
"""Side of a cell of the stem's P3 map, in input pixels."""

ALIGN_CELLS = 4
"""Cells of P3 under one cell of P5: patches start at multiples of it, inputs end at multiples."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How one frame lies in the network's input.

    Attributes:
        frame_hw: Height and width of the source frame, in pixels.
        scaled_hw: Height and width of the picture inside the input, in pixels.
        input_hw: Height and width of the input, multiples of 32 pixels.
    """

    frame_hw: tuple[int, int]
    scaled_hw: tuple[int, int]
    input_hw: tuple[int, int]

    @classmethod
    def fit(cls, frame_hw: tuple[int, int], long_side_px: int) -> Letterbox:
        """The letterbox that gives the frame's long side this length.

        Args:
            frame_hw: Height and width of the frame, in pixels.
            long_side_px: Length of the longer side of the scaled picture.

        Raises:
            UsageError: One of them is not positive.
        """
        if min(*frame_hw, long_side_px) < 1:
            raise UsageError(
                "letterbox: expected a frame of at least 1x1 px and a long side of at least 1 px, "
                f"got {frame_hw[1]}x{frame_hw[0]} px and {long_side_px}"
            )
        scale = long_side_px / max(frame_hw)
        scaled = (max(1, round(frame_hw[0] * scale)), max(1, round(frame_hw[1] * scale)))
        step = CELL_PX * ALIGN_CELLS
        return cls(frame_hw, scaled, (-(-scaled[0] // step) * step, -(-scaled[1] // step) * step))

    @property
    def cells_hw(self) -> tuple[int, int]:
        """Height and width of the P3 map, in cells."""
        return self.input_hw[0] // CELL_PX, self.input_hw[1] // CELL_PX

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Input pixels for one frame pixel, along x and y."""
        return self.scaled_hw[1] / self.frame_hw[1], self.scaled_hw[0] / self.frame_hw[0]

    def to_input(self, xyxy: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
        """Boxes in frame pixels -> input pixels."""
        out: Float[np.ndarray, "n 4"] = xyxy * self._factors(xyxy.dtype)
        return out

    def to_frame(self, xyxy: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
        """Boxes in input pixels -> frame pixels, clipped to the frame."""
        out: Float[np.ndarray, "n 4"] = xyxy / self._factors(xyxy.dtype)
        out[:, 0::2] = np.clip(out[:, 0::2], 0, self.frame_hw[1])
        out[:, 1::2] = np.clip(out[:, 1::2], 0, self.frame_hw[0])
        return out

    def _factors(self, dtype: np.dtype[Any]) -> Float[np.ndarray, 4]:
        """Input pixels for one frame pixel, for each number of a box."""
        return np.tile(np.asarray(self.scale_xy, dtype), 2)


def area(xyxy: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Areas in square pixels; turned or empty boxes have zero."""
    wh = np.clip(xyxy[:, 2:] - xyxy[:, :2], 0, None)
    areas: Float[np.ndarray, " n"] = wh[:, 0] * wh[:, 1]
    return areas


def intersection(
    a_xyxy: Float[np.ndarray, "n 4"], b_xyxy: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Area that each box of one set shares with each of the other, in square pixels."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    wh = np.clip(high - low, 0, None)
    shared: Float[np.ndarray, "n m"] = wh[..., 0] * wh[..., 1]
    return shared


def share_inside(
    xyxy: Float[np.ndarray, "n 4"], regions_xyxy: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Share of each box's area that lies in each region, in [0, 1]; empty boxes have zero."""
    whole = area(xyxy)[:, None]
    shares: Float[np.ndarray, "n m"] = np.divide(
        intersection(xyxy, regions_xyxy),
        whole,
        out=np.zeros((len(xyxy), len(regions_xyxy)), whole.dtype),
        where=whole > 0,
    )
    return shares
