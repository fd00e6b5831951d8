"""A data set in figures: what a person wants to know before training on it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

from sparsight.geometry import area
from sparsight_cloud.data.dataset import Dataset

SIZES_PX = (("tiny", 0.0), ("small", 16.0), ("medium", 32.0), ("large", 96.0))
"""Sizes and where each begins: the square root of a box's area, in pixels of the picture."""


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class of a data set.

    Attributes:
        name: The class.
        category_id: Its id in COCO files.
        boxes: How many there are.
        images: Pictures with one or more.
    """

    name: str
    category_id: int
    boxes: int
    images: int


@dataclass(frozen=True, slots=True)
class SizeCount:
    """Boxes of one range of sizes.

    Attributes:
        name: Of the range.
        from_px: Where it begins; the next one ends it.
        boxes: How many there are.
        share: Of all boxes, in [0, 1].
    """

    name: str
    from_px: float
    boxes: int
    share: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A data set in figures.

    Attributes:
        images: Pictures.
        images_without_boxes: Those of them without a labelled box.
        boxes: Labelled boxes.
        boxes_per_image_median: Over all pictures.
        boxes_per_image_max: Of the fullest picture.
        doubled_boxes: Boxes that repeat another of their picture, class included.
        classes: In the order of the labels.
        sizes: From tiny to large.
        ignore_regions: Regions that are not judged.
        images_with_regions: Pictures that have one.
        frame_sizes: Width x height in pixels and how many pictures have it, most frequent first.
    """

    images: int
    images_without_boxes: int
    boxes: int
    boxes_per_image_median: float
    boxes_per_image_max: int
    doubled_boxes: int
    classes: tuple[ClassCount, ...]
    sizes: tuple[SizeCount, ...]
    ignore_regions: int
    images_with_regions: int
    frame_sizes: tuple[tuple[str, int], ...]


def summarise(dataset: Dataset) -> Summary:
    """Counts what a data set has.

    Args:
        dataset: Any; an empty one has figures too.
    """
    per_image = np.array([len(image.labels) for image in dataset.images], np.int64)
    labels: Int64[np.ndarray, " n"] = np.concatenate(
        [np.zeros(0, np.int64), *(image.labels for image in dataset.images)]
    )
    seen: Int64[np.ndarray, " n"] = np.concatenate(
        [np.zeros(0, np.int64), *(np.unique(image.labels) for image in dataset.images)]
    )
    count = len(dataset.classes)
    boxes = np.bincount(labels, minlength=count)
    images = np.bincount(seen, minlength=count)
    sides: Float32[np.ndarray, " n"] = np.concatenate(
        [np.zeros(0, np.float32), *(np.sqrt(area(image.xyxy)) for image in dataset.images)]
    )
    frames = Counter(f"{image.frame_hw[1]}x{image.frame_hw[0]}" for image in dataset.images)
    regions = [len(image.ignore_xyxy) for image in dataset.images]
    return Summary(
        images=len(dataset.images),
        images_without_boxes=int((per_image == 0).sum()),
        boxes=len(labels),
        boxes_per_image_median=float(np.median(per_image)) if len(per_image) else 0.0,
        boxes_per_image_max=int(per_image.max(initial=0)),
        doubled_boxes=sum(
            len(image.labels) - len(np.unique(np.column_stack([image.labels, image.xyxy]), axis=0))
            for image in dataset.images
        ),
        classes=tuple(
            ClassCount(name, key, int(boxes[i]), int(images[i]))
            for i, (name, key) in enumerate(zip(dataset.classes, dataset.category_ids, strict=True))
        ),
        sizes=count_sizes(sides),
        ignore_regions=sum(regions),
        images_with_regions=sum(n > 0 for n in regions),
        frame_sizes=tuple(frames.most_common()),
    )


def count_sizes(
    sides_px: Float[np.ndarray, " n"], named: Sequence[tuple[str, float]] = SIZES_PX
) -> tuple[SizeCount, ...]:
    """Boxes of each range of sizes.

    Args:
        sides_px: Square roots of areas.
        named: Ranges and where each begins; the first at 0.
    """
    starts = np.array([start for _, start in named])
    counts = np.bincount(np.searchsorted(starts, sides_px, side="right") - 1, minlength=len(starts))
    return tuple(
        SizeCount(name, start, int(n), float(n) / max(len(sides_px), 1))
        for (name, start), n in zip(named, counts, strict=True)
    )
