"""Found objects against an annotation file, for the pictures that it speaks of.

Which of the file's pictures a source is, its name says: the last part of the path, and as much
before it as is needed to tell pictures of that name apart.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from sparsight.errors import DataError
from sparsight_cloud.data.dataset import Dataset, LabelledImage
from sparsight_cloud.detection.run import Done
from sparsight_cloud.detection.sources import Source
from sparsight_cloud.evaluation.classes import ClassMatch
from sparsight_cloud.evaluation.coco_ap import ApReport, average_precision


@dataclass(frozen=True, slots=True)
class Judgement:
    """How well the objects of some pictures were found.

    Attributes:
        ap: Average precision; None of its classes is one that the detector lacks.
        pictures: How many were judged.
        pictures_annotated: How many the annotation file speaks of.
        meanings: The detector's classes that stand for each of the data set's that were judged.
        unjudged: The data set's classes that were not judged although there are boxes of them.
    """

    ap: ApReport
    pictures: int
    pictures_annotated: int
    meanings: dict[str, tuple[str, ...]]
    unjudged: tuple[str, ...]


def match_pictures(sources: Sequence[Source], dataset: Dataset) -> dict[Path, LabelledImage]:
    """Find the annotated pictures among the sources.

    Args:
        sources: Pictures to look at.
        dataset: Annotated pictures.

    Returns:
        The annotated picture that each source's path stands for; sources without one are left out.

    Raises:
        DataError: No source is annotated, or two sources would be the same picture.
    """
    by_name: dict[str, list[LabelledImage]] = defaultdict(list)
    for annotated in dataset.images:
        by_name[PurePath(annotated.file_name).name].append(annotated)
    matched: dict[Path, LabelledImage] = {}
    claimed: dict[str, Path] = {}
    for source in sources:
        image = _the_one(source.path, by_name.get(source.path.name, []))
        if image is None:
            continue
        if image.file_name in claimed:
            raise DataError(
                f"{claimed[image.file_name]} and {source.path} could both be {image.file_name} of "
                "the annotations; give one of them at a time"
            )
        claimed[image.file_name] = source.path
        matched[source.path] = image
    if not matched:
        raise DataError(
            f"none of the {len(sources)} pictures is in the annotations, which speak of "
            f"{dataset.images[0].file_name} and {len(dataset.images) - 1} more; "
            "leave --annotations out or give the pictures that it is about"
        )
    return matched


def judge(
    done: Sequence[Done],
    matched: dict[Path, LabelledImage],
    dataset: Dataset,
    match: ClassMatch,
    classes: tuple[str, ...],
) -> Judgement:
    """Judge what was found in the annotated pictures, at every score.

    Args:
        done: What was found; pictures that are not annotated are left out.
        matched: As from `match_pictures`.
        dataset: The annotations.
        match: The detector's classes on the data set's.
        classes: Names of the detector's classes.

    Raises:
        DataError: A picture is not of the size it was annotated at, or none is left to judge.
    """
    judged = [one for one in done if one.source.path in matched]
    if not judged:
        raise DataError("none of the annotated pictures could be read: nothing to judge")
    images = tuple(matched[one.source.path] for one in judged)
    for one, image in zip(judged, images, strict=True):
        if one.frame_hw != image.frame_hw:
            raise DataError(
                f"{one.source.path}: {one.frame_hw[1]}x{one.frame_hw[0]} px, but annotated as "
                f"{image.frame_hw[1]}x{image.frame_hw[0]}; annotations and pictures don't belong "
                "together, no AP"
            )
    chosen = replace(dataset, images=images)
    ap = average_precision(match.dataset(chosen), [match.detections(one.found) for one in judged])
    have_boxes = {int(label) for image in images for label in image.labels}
    return Judgement(
        ap=ap,
        pictures=len(judged),
        pictures_annotated=len(dataset.images),
        meanings={
            one.name: tuple(
                name
                for name, target in zip(classes, match.to_dataset, strict=True)
                if target >= 0 and dataset.classes[target] == one.name
            )
            for one in ap.per_class
        },
        unjudged=tuple(
            dataset.classes[label] for label in sorted(have_boxes - set(match.judged.tolist()))
        ),
    )


def _the_one(path: Path, images: list[LabelledImage]) -> LabelledImage | None:
    if len(images) == 1:
        return images[0]
    parts = path.absolute().parts
    tails = [PurePath(image.file_name).parts for image in images]
    fits = [i for i, tail in enumerate(tails) if parts[-len(tail) :] == tail]
    return images[max(fits, key=lambda i: len(tails[i]))] if fits else None
