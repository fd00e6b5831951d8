"""How well the objects were found, and what one process finds in the same frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sparsight.detections import Detections
from sparsight.model.detector import Detector
from sparsight.pictures import read_picture
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.classes import ClassMatch
from sparsight_cloud.evaluation.coco_ap import average_precision


@dataclass(frozen=True, slots=True)
class Ap:
    """Average precision; None where no box is of a class that the bundle knows.

    Attributes:
        ap: Over the IoU thresholds .50 to .95, in [0, 1].
        ap50: At IoU .50.
    """

    ap: float | None
    ap50: float | None


class Judge:
    """Judges what was found in the plan's pictures."""

    def __init__(self, labels: Dataset, match: ClassMatch | None) -> None:
        """A judge of one bundle.

        Args:
            labels: The pictures and their boxes.
            match: The bundle's classes on theirs; None if they have none in common.
        """
        self._labels = labels
        self._match = match

    def judge(self, found: Mapping[Path, Detections]) -> Ap:
        """Judge some pictures; one without an entry is left out."""
        images = tuple(image for image in self._labels.images if image.path in found)
        if self._match is None or not images:
            return Ap(None, None)
        report = average_precision(
            self._match.dataset(replace(self._labels, images=images)),
            [self._match.detections(found[image.path]) for image in images],
        )
        return Ap(report.ap, report.ap50)


def detect_in_process(
    bundle: Path, rate: int, pictures: Sequence[Path], saw: Callable[[int], None]
) -> dict[Path, Detections]:
    """Find the objects of some pictures here, both halves and the codec in one process.

    Args:
        bundle: Folder of the bundle.
        rate: Index of the codec's quality level.
        pictures: What to look at.
        saw: Told how many are done.
    """
    detector = Detector.from_bundle(bundle)
    settings = replace(detector.settings, rate=rate)
    found = {}
    for count, picture in enumerate(pictures, 1):
        (result,) = detector.detect([read_picture(picture)], settings)
        found[picture] = result.detections
        saw(count)
    return found
