"""How small and how sparse a labelled set is, and what share of a frame its detector would keep.

    boxes ─ letterbox ─> boxes at the input's size ─┬─> sizes
                                                    ├─> 32-px cells under a box ─> least occupancy
                                                    └─> heat of the labels ─ slicer ─> kept cells

The heat is that of a seeker without faults, so the last figure is what the slicer itself costs:
patches are larger than objects. A trained seeker also keeps what it mistakes for objects.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sparsight.geometry import ALIGN_CELLS, CELL_PX, Letterbox, area
from sparsight.slicer import SlicerSettings, slice_heat
from sparsight_cloud.data.dataset import Dataset, LabelledImage
from sparsight_cloud.data.summary import SizeCount, count_sizes
from sparsight_cloud.training.labels import draw_heat

EDGES_PX = (0, 4, 8, 12, 16, 24, 32, 48, 64, 96)
"""Where the ranges of sizes begin: square roots of areas, in pixels of the network's input."""

COCO_PX = (("small", 0.0), ("medium", 32.0), ("large", 96.0))
"""COCO's three sizes, measured at the network's input."""

UNITS_PX = CELL_PX * ALIGN_CELLS
"""What patches are made of: 32 px."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all pictures.

    Attributes:
        mean: Over the pictures.
        p10: A tenth of the pictures has less.
        median: Half of them.
        p90: Nine tenths.
        most: The greatest.
    """

    mean: float
    p10: float
    median: float
    p90: float
    most: float


@dataclass(frozen=True, slots=True)
class Stats:
    """A data set at the size that the network sees.

    Attributes:
        images: Pictures.
        boxes: Labelled boxes.
        long_side_px: Long side of a picture in the network's input.
        side_px: Sizes of boxes in the input; the spread is over boxes, zeros without any.
        sizes: Boxes in fine ranges of sizes.
        coco: Likewise in COCO's three.
        objects: Boxes a picture.
        covered: Share of a picture's 32-px cells that a box touches.
        kept: Share of its cells that a faultless seeker and the slicer keep.
        patches: Patches that these are.
    """

    images: int
    boxes: int
    long_side_px: int
    side_px: Spread
    sizes: tuple[SizeCount, ...]
    coco: tuple[SizeCount, ...]
    objects: Spread
    covered: Spread
    kept: Spread
    patches: Spread


def dataset_stats(
    dataset: Dataset,
    long_side_px: int,
    slicer: SlicerSettings,
    track: Callable[[Sequence[LabelledImage]], Iterable[LabelledImage]],
) -> Stats:
    """Measure a data set's labels; no picture is decoded.

    Args:
        dataset: With at least one picture.
        long_side_px: What the long side of a picture is scaled to.
        slicer: How patches are chosen.
        track: Passes pictures on, and may show how far it is.
    """
    sides: list[Float[np.ndarray, " n"]] = [np.zeros(0)]
    covered, kept, patches = [], [], []
    for image in track(dataset.images):
        box = Letterbox.fit(image.frame_hw, long_side_px)
        xyxy = box.to_input(image.xyxy)
        sides.append(np.sqrt(area(xyxy.astype(np.float64))))
        covered.append(_covered(xyxy, box))
        cut = slice_heat(draw_heat(xyxy, box.cells_hw)[0], slicer)
        kept.append(cut.kept_area)
        patches.append(len(cut))
    every = np.concatenate(sides)
    fine = [(f"{a} to {b}", float(a)) for a, b in itertools.pairwise(EDGES_PX)]
    return Stats(
        images=len(dataset.images),
        boxes=len(every),
        long_side_px=long_side_px,
        side_px=_spread(every),
        sizes=count_sizes(every, [*fine, (f"{EDGES_PX[-1]} and more", float(EDGES_PX[-1]))]),
        coco=count_sizes(every, COCO_PX),
        objects=_spread(np.array([len(image.labels) for image in dataset.images], np.float64)),
        covered=_spread(np.array(covered)),
        kept=_spread(np.array(kept)),
        patches=_spread(np.array(patches, np.float64)),
    )


def _covered(xyxy: Float[np.ndarray, "n 4"], box: Letterbox) -> float:
    """Share of the 32-px cells that a box touches."""
    rows, columns = (side // UNITS_PX for side in box.input_hw)
    touched = np.zeros((rows, columns), bool)
    first = np.floor(xyxy[:, :2] / UNITS_PX).astype(int)
    last = np.maximum(np.ceil(xyxy[:, 2:] / UNITS_PX).astype(int), first + 1)
    for (x0, y0), (x1, y1) in zip(first.tolist(), last.tolist(), strict=True):
        touched[y0:y1, x0:x1] = True
    return float(touched.mean())


def _spread(values: Float[np.ndarray, " n"]) -> Spread:
    if not len(values):
        return Spread(0.0, 0.0, 0.0, 0.0, 0.0)
    p10, median, p90 = np.percentile(values, (10, 50, 90)).tolist()
    return Spread(float(values.mean()), p10, median, p90, float(values.max()))
