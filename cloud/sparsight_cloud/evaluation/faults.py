"""What went wrong in each picture, to be looked at: objects missed, false alarms, seeker misses.

    labels, detections from a score on ─ best first, IoU .50, class by class ─> found | false
    labels, patches ────────────────────────────────────────────────────────> outside all patches

This is for people. Figures are `coco_ap`'s, which know no score at which to draw the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from sparsight.geometry import area, intersection
from sparsight_cloud.evaluation.coverage import covered
from sparsight_cloud.evaluation.ignore import in_ignored
from sparsight_cloud.evaluation.run import JudgedFrame

IOU = 0.5


@dataclass(frozen=True, slots=True)
class Faults:
    """What went wrong in one picture.

    Attributes:
        frame: The picture, its labels and detections.
        shown: Detections from the score on and outside ignored regions.
        false: Those of `shown` that are no labelled object.
        missed: Labelled objects that none of `shown` is.
        unseen: Those of the labelled objects that the seeker missed: not more than half in a patch.
    """

    frame: JudgedFrame
    shown: Bool[np.ndarray, " d"]
    false: Bool[np.ndarray, " d"]
    missed: Bool[np.ndarray, " n"]
    unseen: Bool[np.ndarray, " n"]

    @property
    def count(self) -> int:
        """Objects missed and false alarms."""
        return int(self.missed.sum() + self.false.sum())


def faults(frame: JudgedFrame, score: float) -> Faults:
    """Match one picture.

    Args:
        frame: Labels and detections.
        score: Detections below it are not shown to people.
    """
    image, found = frame.image, frame.detections
    judged = ~in_ignored(image.xyxy, image.ignore_xyxy)
    shown = (found.scores >= score) & ~in_ignored(found.xyxy, image.ignore_xyxy)
    shared = intersection(image.xyxy.astype(np.float64), found.xyxy.astype(np.float64))
    areas = area(image.xyxy.astype(np.float64))[:, None] + area(found.xyxy.astype(np.float64))
    iou = shared / np.maximum(areas - shared, 1e-9)
    iou[image.labels[:, None] != found.labels] = 0.0
    missed, false = judged.copy(), shown.copy()
    for d in np.argsort(-found.scores, kind="stable").tolist():
        if not shown[d] or not len(missed):
            continue
        best = int(np.argmax(np.where(missed, iou[:, d], 0.0)))
        if missed[best] and iou[best, d] >= IOU:
            missed[best] = false[d] = False
    unseen = judged & ~covered(image.xyxy, frame.patches, frame.letterbox)
    return Faults(frame, shown, false, missed, unseen)


def worst(frames: Sequence[JudgedFrame], score: float, count: int) -> list[Faults]:
    """The pictures in which most went wrong, the worst first.

    Args:
        frames: All of them.
        score: As in `faults`.
        count: How many at most.
    """
    found = [one for one in (faults(frame, score) for frame in frames) if one.count]
    return sorted(found, key=lambda one: -one.count)[:count]
