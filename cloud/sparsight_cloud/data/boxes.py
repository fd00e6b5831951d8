"""Boxes against the picture they are in: a small overhang is clipped, nonsense is refused.

Annotators and trackers draw over the border; the detector can't. A box is taken if at least half of
it lies inside: VisDrone, too, does not judge objects that are truncated by more than half. Ignore
regions may hang over as far as they like, and those of no size are passed over, since they hide
nothing (VisDrone's training set has two).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from sparsight.geometry import area
from sparsight_cloud.data.dataset import LabelledImage
from sparsight_cloud.data.reading import Reading

IGNORED = -1
"""Label of a box that is an ignore region."""

LEAST_INSIDE = 0.5
"""Share of a box that must lie inside its picture, in [0, 1]."""


def fit_boxes(
    xyxy: Float64[np.ndarray, "n 4"],
    labels: Int64[np.ndarray, " n"],
    frame_hw: Int64[np.ndarray, "n 2"],
    where: Callable[[int], str],
    reading: Reading,
) -> tuple[Float64[np.ndarray, "n 4"], Bool[np.ndarray, " n"]]:
    """Clips boxes to their pictures and finds those that can't be meant.

    Args:
        xyxy: Corners in pixels of the picture.
        labels: Index of each box's class, or `IGNORED`.
        frame_hw: Height and width of each box's picture, in pixels.
        where: Name of a box's place in the files, from its index.
        reading: Gets the boxes that are refused.

    Returns:
        The clipped boxes, and which of them to keep.
    """
    region = labels == IGNORED
    finite = np.isfinite(xyxy).all(axis=1)
    sized = finite & (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
    limit = np.tile(frame_hw[:, ::-1], 2)
    clipped = np.clip(np.where(sized[:, None], xyxy, 0.0), 0, limit)
    inside = np.divide(area(clipped), area(xyxy), out=np.zeros(len(xyxy)), where=sized)
    keep = sized & np.where(region, inside > 0, inside >= LEAST_INSIDE)
    for row in np.flatnonzero(~keep & (~region | sized | ~finite)):
        x1, y1, x2, y2 = xyxy[row]
        height, width = frame_hw[row]
        kind = "an ignore region" if region[row] else "a box"
        got = f"x {x1:g} to {x2:g}, y {y1:g} to {y2:g}"
        if not sized[row]:
            what = f"expected {kind} with a width and a height, got {got}"
        else:
            least = "" if region[row] else "at least half "
            picture = f"{least}inside its {width}x{height} picture"
            what = f"expected {kind} {picture}, got {got} ({100 * inside[row]:.0f} % inside)"
        reading.bad_box(where(int(row)), what)
    return clipped, keep


def fitted_image(
    path: Path,
    file_name: str,
    image_id: int,
    frame_hw: tuple[int, int],
    xyxy: Float64[np.ndarray, "n 4"],
    labels: Int64[np.ndarray, " n"],
    where: Callable[[int], str],
    reading: Reading,
) -> LabelledImage:
    """One picture with those of its boxes that can be meant.

    Args:
        path: Where the picture lies.
        file_name: Its name in annotations.
        image_id: Its number.
        frame_hw: Its height and width, in pixels.
        xyxy: Corners of boxes and of ignore regions, in pixels.
        labels: Index of each box's class, or `IGNORED`.
        where: Name of a box's place in the files, from its index.
        reading: Gets the boxes that are refused.
    """
    sizes = np.tile(np.array(frame_hw, np.int64), (len(labels), 1))
    fitted, keep = fit_boxes(xyxy, labels, sizes, where, reading)
    return labelled(path, file_name, image_id, frame_hw, fitted[keep], labels[keep])


def labelled(
    path: Path,
    file_name: str,
    image_id: int,
    frame_hw: tuple[int, int],
    xyxy: Float64[np.ndarray, "n 4"],
    labels: Int64[np.ndarray, " n"],
) -> LabelledImage:
    """One picture, its boxes told from its ignore regions; the arguments as of `fitted_image`."""
    region = labels == IGNORED
    corners = xyxy.astype(np.float32)
    return LabelledImage(
        path, file_name, image_id, frame_hw, corners[~region], labels[~region], corners[region]
    )
