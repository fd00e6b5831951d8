"""What the slicer keeps: objects covered against area spent.

A labelled box is covered when more than half of its area lies in ONE kept patch (ESOD, Liu et
al., arXiv 2407.16424, BPRbox); bpr is the share of boxes that are. Boxes in ignored regions don't
count. Area is said twice: occupancy sums the patches, overlaps counted twice, as ESOD does; the
kept area counts each cell once, as the deep layers do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from sparsight.geometry import CELL_PX, Letterbox, share_inside
from sparsight.slicer import Patches
from sparsight_cloud.data.dataset import LabelledImage
from sparsight_cloud.evaluation.ignore import in_ignored

COVERED_SHARE = 0.5
"""A box is covered when more than this share of its area lies in one patch."""


@dataclass(frozen=True, slots=True)
class FrameCoverage:
    """What was kept of one frame.

    Attributes:
        boxes: Labelled boxes outside ignored regions.
        covered: Those of them that lie more than half inside one patch.
        patches: Number of patches.
        occupancy: Patch areas over the frame's area, overlaps counted twice; may exceed 1.
        kept_area: Share of the frame under at least one patch, in [0, 1].
    """

    boxes: int
    covered: int
    patches: int
    occupancy: float
    kept_area: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was kept of a set of frames.

    Attributes:
        bpr: Share of all boxes that are covered, in [0, 1]; None where there are no boxes.
        occupancy: Mean over the frames.
        kept_area: Mean over the frames.
        patches_per_frame: Mean over the frames.
    """

    bpr: float | None
    occupancy: float
    kept_area: float
    patches_per_frame: float


def covered(
    xyxy: Float[np.ndarray, "n 4"], patches: Patches, letterbox: Letterbox
) -> Bool[np.ndarray, " n"]:
    """Which boxes lie more than half inside one patch.

    Args:
        xyxy: Boxes in pixels of the frame.
        patches: The kept patches of the frame.
        letterbox: How the frame lies in the input that the patches are cut from.
    """
    if not len(patches):
        return np.zeros(len(xyxy), np.bool_)
    boxes_cells = letterbox.to_input(xyxy.astype(np.float64)) / CELL_PX
    inside = share_inside(boxes_cells, patches.xyxy_cells().astype(np.float64))
    best: Bool[np.ndarray, " n"] = inside.max(axis=1) > COVERED_SHARE
    return best


def frame_coverage(image: LabelledImage, patches: Patches, letterbox: Letterbox) -> FrameCoverage:
    """Coverage and area of one frame.

    Args:
        image: The frame's labels.
        patches: The kept patches of the frame.
        letterbox: How the frame lies in the input that the patches are cut from.
    """
    boxes = image.xyxy[~in_ignored(image.xyxy, image.ignore_xyxy)]
    return FrameCoverage(
        boxes=len(boxes),
        covered=int(covered(boxes, patches, letterbox).sum()),
        patches=len(patches),
        occupancy=patches.occupancy,
        kept_area=patches.kept_area,
    )


def coverage(frames: Sequence[FrameCoverage]) -> Coverage:
    """Boxes pooled over the frames, areas averaged over them.

    Args:
        frames: At least one.
    """
    boxes = sum(frame.boxes for frame in frames)
    return Coverage(
        bpr=sum(frame.covered for frame in frames) / boxes if boxes else None,
        occupancy=float(np.mean([frame.occupancy for frame in frames])),
        kept_area=float(np.mean([frame.kept_area for frame in frames])),
        patches_per_frame=float(np.mean([frame.patches for frame in frames])),
    )
