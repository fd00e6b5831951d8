"""Found objects against an annotation file, for the pictures that it speaks of.

Which of the file's pictures a source is, its name says: the last part of the path, and as much
before it as is needed to tell pictures of that name apart. Where the pictures lay when they were
annotated is of no matter, and the file's other pictures need not be there.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sparsight.errors import DataError
from sparsight_cloud.data.coco import assemble, load_json
from sparsight_cloud.data.coco_records import Records, whole_number
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.data.reading import Reading
from sparsight_cloud.detection.run import Done
from sparsight_cloud.detection.sources import Source
from sparsight_cloud.evaluation.classes import ClassMatch
from sparsight_cloud.evaluation.coco_ap import ApReport, average_precision


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of some sources.

    Attributes:
        dataset: The annotated ones among the sources; `path` is the source's, made absolute.
        mapping: The data set's class for some of the detector's; the others match by name.
        pictures_annotated: How many pictures the annotation file speaks of.
    """

    dataset: Dataset
    mapping: Mapping[str, str]
    pictures_annotated: int


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


def read_labels(annotations: Path, sources: Sequence[Source], mapping: Mapping[str, str]) -> Labels:
    """Read what an annotation file says of the sources.

    Args:
        annotations: A COCO file.
        sources: Pictures to look at.
        mapping: The file's class for some of the detector's.

    Raises:
        DataError: The file can't be used, speaks of no source, or two sources would be the same
            picture.
    """
    raw = load_json(annotations)
    path_of = _match(annotations, raw["images"], sources)
    folder = Path(os.path.commonpath([path.parent for path in path_of.values()]))
    # The reader looks for pictures below one folder, by the names that the file gives them.
    images = [
        {**record, "file_name": path_of[i].relative_to(folder).as_posix()}
        for i, record in enumerate(raw["images"])
        if i in path_of
    ]
    others = {
        whole_number(record.get("id")) for i, record in enumerate(raw["images"]) if i not in path_of
    }
    boxes = [
        record
        for record in raw["annotations"]
        if whole_number(record.get("image_id")) not in others
    ]
    reading = Reading(allow_empty=True)
    dataset = assemble(
        annotations, {**raw, "images": images, "annotations": boxes}, folder, reading
    )
    reading.conclude(annotations, dataset)
    reading.refuse(annotations)
    return Labels(dataset, mapping, len(raw["images"]))


def judge(
    done: Sequence[Done], labels: Labels, match: ClassMatch, classes: tuple[str, ...]
) -> Judgement:
    """Judge what was found in the annotated pictures, at every score.

    Args:
        done: What was found; pictures that are not annotated are left out.
        labels: The annotations.
        match: The detector's classes on the annotations'.
        classes: Names of the detector's classes.

    Raises:
        DataError: A picture is not of the size it was annotated at, or none is left to judge.
    """
    dataset = labels.dataset
    image_of = {image.path: image for image in dataset.images}
    judged = [one for one in done if one.source.path.absolute() in image_of]
    if not judged:
        raise DataError("none of the annotated pictures could be read: nothing to judge")
    images = tuple(image_of[one.source.path.absolute()] for one in judged)
    for one, image in zip(judged, images, strict=True):
        if one.frame_hw != image.frame_hw:
            raise DataError(
                f"{one.source.path}: {one.frame_hw[1]}x{one.frame_hw[0]} px, but annotated as "
                f"{image.frame_hw[1]}x{image.frame_hw[0]}; annotations and pictures don't belong "
                "together, no AP"
            )
    chosen = Dataset(images, dataset.classes, dataset.category_ids)
    ap = average_precision(match.dataset(chosen), [match.detections(one.found) for one in judged])
    have_boxes = {int(label) for image in images for label in image.labels}
    return Judgement(
        ap=ap,
        pictures=len(judged),
        pictures_annotated=labels.pictures_annotated,
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


def _match(annotations: Path, images: Records, sources: Sequence[Source]) -> dict[int, Path]:
    """Absolute paths of the sources that are annotated, by the place of their record."""
    by_name: dict[str, list[int]] = defaultdict(list)
    tails = [
        PurePosixPath(str(record.get("file_name", "")).replace("\\", "/")) for record in images
    ]
    for i, tail in enumerate(tails):
        by_name[tail.name].append(i)
    matched: dict[int, Path] = {}
    for source in sources:
        path = source.path.absolute()
        fits = by_name.get(path.name, [])
        if len(fits) > 1:
            fits = [i for i in fits if path.parts[-len(tails[i].parts) :] == tails[i].parts]
        if not fits or not path.is_file():
            continue
        best = max(fits, key=lambda i: len(tails[i].parts))
        if best in matched:
            raise DataError(
                f"{matched[best]} and {path} could both be {tails[best]} of {annotations}; "
                "give one of them at a time"
            )
        matched[best] = path
    if not matched:
        known = f", which speaks of {tails[0]} and {len(tails) - 1} more" if tails else ""
        raise DataError(
            f"none of {len(sources)} pictures is in {annotations}{known}; leave --annotations out "
            "or give the pictures that it is about"
        )
    return matched
