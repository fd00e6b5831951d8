"""Average precision as COCO defines it, for crowded frames with small objects.

    boxes, detections ─ ignored regions out ─ match per class and IoU ─> precision over recall ─> AP

Matching and integration are faster-coco-eval's, which a test holds against pycocotools. What
differs from a plain COCO run is only what goes in:

- Up to 500 detections of a class in a frame are judged (100 cost crowded frames about 1.7 AP).
- Ignored regions follow VisDrone (`ignore.py`).
- Sizes are areas of the labelled box, in pixels of the ORIGINAL picture. As in COCO both ends of a
  bin belong to it, and "small" contains "tiny".

This is not the VisDrone toolkit's number: that one integrates under the exact envelope instead of
101 points and takes its 500 detections over all classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval.core.coco import COCO
from faster_coco_eval.core.faster_eval_api import COCOeval_faster
from jaxtyping import Float, Int64

from sparsight.detections import Detections
from sparsight.errors import UsageError
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.ignore import in_ignored

MAX_DETECTIONS = (1, 10, 100, 500)
"""Detections of one class judged in one frame; the last is the one that is reported."""

SIZES_PX2 = {
    "tiny": (0.0, 16.0**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Least and greatest area of a labelled box in each bin, in square pixels of the picture."""

_IOU_50, _IOU_75 = 0, 5  # places in COCO's list of thresholds, .50 to .95 in steps of .05


@dataclass(frozen=True, slots=True)
class ClassAp:
    """How well one class is found.

    Attributes:
        name: The class.
        boxes: Labelled boxes that were judged, at least 1.
        ap: Mean AP over the IoU thresholds .50 to .95, in [0, 1].
        ap50: AP at IoU .50, in [0, 1].
    """

    name: str
    boxes: int
    ap: float
    ap50: float


@dataclass(frozen=True, slots=True)
class ApReport:
    """How well a data set's objects are found; means over the classes that have boxes.

    A figure is None where no box is of its kind.

    Attributes:
        ap: Mean AP over the IoU thresholds .50 to .95, in [0, 1].
        ap50: AP at IoU .50.
        ap75: AP at IoU .75.
        ap_tiny: AP of boxes under 16 x 16 px of the original picture.
        ap_small: AP of boxes under 32 x 32 px, the tiny ones included.
        ap_medium: AP of boxes from 32 x 32 to 96 x 96 px.
        ap_large: AP of boxes over 96 x 96 px.
        ar500: Recall over the IoU thresholds with at most 500 detections of a class in a frame.
        per_class: The classes with boxes, in the data set's order.
        boxes_judged: Labelled boxes outside ignored regions.
        boxes_ignored: Labelled boxes inside them.
        detections_ignored: Detections inside them.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_tiny: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar500: float | None
    per_class: tuple[ClassAp, ...]
    boxes_judged: int
    boxes_ignored: int
    detections_ignored: int


def average_precision(dataset: Dataset, detections: Sequence[Detections]) -> ApReport:
    """Judge detections against labels. Deterministic; equal scores keep their order.

    Args:
        dataset: Pictures, boxes and ignored regions. Classes without boxes don't count.
        detections: One value per picture, in the order of `dataset.images`, in pixels of the
            picture, labelled with the DATA SET's classes (`classes.match_classes` leads there).

    Raises:
        UsageError: Another number of detections than pictures, labels that are no class of the data
            set, or boxes or scores that are not finite.
    """
    _check(dataset, detections)
    boxes, found = _annotations(dataset, detections)
    names = dataset.classes
    counts = np.bincount([box["category_id"] for box in boxes], minlength=len(names)).tolist()
    precision, recall = _match(len(dataset.images), len(names), boxes, found)
    at = {name: i + 1 for i, name in enumerate(SIZES_PX2)}
    every = precision[..., 0, -1]
    return ApReport(
        ap=_mean(every),
        ap50=_mean(every[_IOU_50]),
        ap75=_mean(every[_IOU_75]),
        ap_tiny=_mean(precision[..., at["tiny"], -1]),
        ap_small=_mean(precision[..., at["small"], -1]),
        ap_medium=_mean(precision[..., at["medium"], -1]),
        ap_large=_mean(precision[..., at["large"], -1]),
        ar500=_mean(recall[..., 0, -1]),
        per_class=tuple(
            ClassAp(
                name, counts[k], float(every[..., k].mean()), float(every[_IOU_50, :, k].mean())
            )
            for k, name in enumerate(names)
            if counts[k]
        ),
        boxes_judged=len(boxes),
        boxes_ignored=dataset.boxes - len(boxes),
        detections_ignored=sum(map(len, detections)) - len(found),
    )


def precision_curves(
    dataset: Dataset, detections: Sequence[Detections]
) -> dict[str, Float[np.ndarray, " 101"]]:
    """Precision at IoU .50 over recall 0, .01, ... 1, of each class that has boxes.

    Args:
        dataset: As in `average_precision`, and so are the detections.
        detections: One value per picture.

    Raises:
        UsageError: As there.
    """
    _check(dataset, detections)
    boxes, found = _annotations(dataset, detections)
    precision, _ = _match(len(dataset.images), len(dataset.classes), boxes, found)
    curves = precision[_IOU_50, :, :, 0, -1]
    return {
        name: curves[:, k] for k, name in enumerate(dataset.classes) if (curves[:, k] >= 0).all()
    }


def _annotations(
    dataset: Dataset, detections: Sequence[Detections]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Boxes and detections outside ignored regions, as COCO has them."""
    kept_boxes = [~in_ignored(image.xyxy, image.ignore_xyxy) for image in dataset.images]
    kept_found = [
        ~in_ignored(found.xyxy, image.ignore_xyxy)
        for image, found in zip(dataset.images, detections, strict=True)
    ]
    boxes = [
        _annotation(i, box_xyxy, label)
        for i, (image, keep) in enumerate(zip(dataset.images, kept_boxes, strict=True))
        for box_xyxy, label in _rows(image.xyxy[keep], image.labels[keep])
    ]
    found = [
        {**_annotation(i, box_xyxy, label), "score": score}
        for i, (one, keep) in enumerate(zip(detections, kept_found, strict=True))
        for (box_xyxy, label), score in zip(
            _rows(one.xyxy[keep], one.labels[keep]), one.scores[keep].tolist(), strict=True
        )
    ]
    return boxes, found


def _match(
    images: int, classes: int, boxes: list[dict[str, Any]], found: list[dict[str, Any]]
) -> tuple[
    Float[np.ndarray, "iou recall class size limit"], Float[np.ndarray, "iou class size limit"]
]:
    """Precision and recall by faster-coco-eval; -1 where a class has no box of a size."""
    if not boxes:
        nothing = -np.ones((10, 101, classes, len(SIZES_PX2) + 1, len(MAX_DETECTIONS)))
        return nothing, nothing[:, 0]
    judge = COCOeval_faster(
        _coco(images, classes, boxes), _coco(images, classes, found), "bbox", ranges=SIZES_PX2
    )
    judge.params.maxDets = list(MAX_DETECTIONS)
    judge.evaluate()
    judge.accumulate()
    return judge.eval["precision"], judge.eval["recall"]


def _coco(images: int, classes: int, annotations: list[dict[str, Any]]) -> COCO:
    # Ids are given here: a file's may repeat or be 0, which COCO's matching takes for "none".
    return COCO(
        {
            "images": [{"id": i} for i in range(images)],
            "categories": [{"id": k} for k in range(classes)],
            "annotations": [{**one, "id": i} for i, one in enumerate(annotations, start=1)],
        }
    )


def _annotation(image: int, xyxy: list[float], label: int) -> dict[str, Any]:
    x0, y0, x1, y1 = xyxy
    width, height = x1 - x0, y1 - y0
    return {
        "image_id": image,
        "category_id": label,
        "bbox": [x0, y0, width, height],
        "area": width * height,
        "iscrowd": 0,
    }


def _rows(
    xyxy: Float[np.ndarray, "n 4"], labels: Int64[np.ndarray, " n"]
) -> Iterator[tuple[list[float], int]]:
    return zip(xyxy.astype(np.float64).tolist(), labels.tolist(), strict=True)


def _mean(figures: Float[np.ndarray, "..."]) -> float | None:
    """Mean over what exists; COCO marks what does not by -1."""
    there = figures[figures > -1]
    return float(there.mean()) if there.size else None


def _check(dataset: Dataset, detections: Sequence[Detections]) -> None:
    if len(detections) != len(dataset.images):
        raise UsageError(
            f"expected detections of {len(dataset.images)} pictures, in the data set's order, got "
            f"{len(detections)}; give an empty value for a picture without objects"
        )
    for image, found in zip(dataset.images, detections, strict=True):
        if len(found) and not 0 <= found.labels.min() <= found.labels.max() < len(dataset.classes):
            raise UsageError(
                f"{image.file_name}: detections of class {found.labels.max()}, the data set has "
                f"classes 0 to {len(dataset.classes) - 1}; map the bundle's classes onto "
                "the data set's first"
            )
        if not (np.isfinite(found.xyxy).all() and np.isfinite(found.scores).all()):
            raise UsageError(
                f"{image.file_name}: detections with boxes or scores that are not finite; "
                "the weights are at fault"
            )
