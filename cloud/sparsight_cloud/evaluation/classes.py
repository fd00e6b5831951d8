"""A bundle's classes on a data set with other ones.

    bundle   pedestrian  people  car  van ...          by name: car -> car
    data set car  truck  cyclist                       told:    van -> car

Names match when they are the same apart from case, spaces, hyphens and underscores. What has no
partner is dropped on both sides: detections of a class that the data set lacks, and boxes of a
class that the bundle doesn't know, so that neither is held against the detector. Several classes
of a bundle may lead to one of the data set; an object reported under two of them then counts as
found once and falsely once, as it would to a user.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from sparsight.detections import Detections
from sparsight.errors import DataError, UsageError
from sparsight_cloud.data.dataset import Dataset, LabelledImage

_DROPPED = -1


@dataclass(frozen=True, slots=True)
class ClassMatch:
    """Which class of a data set each class of a bundle means.

    Attributes:
        to_dataset: The data set's class for each of the bundle's, -1 where there is none.
        judged: The data set's classes that the bundle knows, as indices, rising.
    """

    to_dataset: Int64[np.ndarray, " bundle_classes"]
    judged: Int64[np.ndarray, " judged_classes"]

    def dataset(self, dataset: Dataset) -> Dataset:
        """The data set with the boxes of judged classes only; its list of classes stays."""
        return replace(dataset, images=tuple(map(self._image, dataset.images)))

    def detections(self, found: Detections) -> Detections:
        """A frame's detections labelled with the data set's classes, the others dropped."""
        labels = self.to_dataset[found.labels]
        keep = labels != _DROPPED
        return Detections(found.xyxy[keep], found.scores[keep], labels[keep])

    def _image(self, image: LabelledImage) -> LabelledImage:
        keep = np.isin(image.labels, self.judged)
        return replace(image, xyxy=image.xyxy[keep], labels=image.labels[keep])


def match_classes(
    bundle_classes: Sequence[str],
    dataset_classes: Sequence[str],
    mapping: Mapping[str, str] | None = None,
) -> ClassMatch:
    """Find each class of a bundle among a data set's.

    Args:
        bundle_classes: Names, in the order of the detector's labels.
        dataset_classes: Names, in the order of the data set's labels.
        mapping: The data set's class for some of the bundle's, before any match by name; "" drops
            the class.

    Raises:
        DataError: The mapping speaks of a class that is not there, or no class has a partner.
    """
    told = {_plain(name): target for name, target in (mapping or {}).items()}
    known = {_plain(name): i for i, name in enumerate(dataset_classes)}
    _refuse_unknown("bundle", told, {_plain(name) for name in bundle_classes}, bundle_classes)
    _refuse_unknown("data set", filter(None, told.values()), set(known), dataset_classes)
    to_dataset = np.array(
        [known.get(_plain(told.get(_plain(name), name)), _DROPPED) for name in bundle_classes],
        np.int64,
    )
    judged = np.unique(to_dataset[to_dataset != _DROPPED])
    if not len(judged):
        raise DataError(
            f"no class in common: the bundle knows {', '.join(bundle_classes)}; the data set has "
            f"{', '.join(dataset_classes)}; say which means which"
        )
    return ClassMatch(to_dataset, judged)


def parse_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """A class mapping as it is written on the command line.

    Args:
        pairs: `bundle class=data set class` each; nothing behind the `=` drops the class.

    Raises:
        UsageError: A pair without `=`, or a class that is mapped twice.
    """
    mapping: dict[str, str] = {}
    for pair in pairs:
        name, equals, target = (part.strip() for part in pair.partition("="))
        if not equals or not name or name in mapping:
            raise UsageError(
                f"class mapping {pair!r}: expected each of the bundle's classes once, as "
                "its name=the data set's name, such as van=car"
            )
        mapping[name] = target
    return mapping


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in " -_")


def _refuse_unknown(
    side: str, told: Iterable[str], known: Collection[str], names: Sequence[str]
) -> None:
    for name in told:
        if _plain(name) not in known:
            raise DataError(
                f"class mapping: the {side} has no class {name!r}; it has {', '.join(names)}"
            )
