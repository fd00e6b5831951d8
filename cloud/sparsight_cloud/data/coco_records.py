"""COCO's records, looked at one by one: what they say, and what is wrong with them."""

import json
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from sparsight_cloud.data.boxes import IGNORED
from sparsight_cloud.data.pictures import picture_hw, safe_name
from sparsight_cloud.data.reading import Reading

Records = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Listed:
    """One of a file's images.

    Attributes:
        key: Its id.
        file_name: Its name, relative to the folder of pictures.
        frame_hw: Height and width as listed, in pixels.
        regions: Its ignore regions, not yet looked at.
    """

    key: int
    file_name: str
    frame_hw: tuple[int, int]
    regions: Sequence[object]


@dataclass(frozen=True, slots=True)
class Columns:
    """All boxes of a file, one row each.

    Attributes:
        image: Row of the image that the box is in.
        label: Index of its class, or `IGNORED`.
        xyxy: Corners in pixels of the image.
        where: Names a row's place in the file; only asked for where something is wrong.
    """

    image: Int64[np.ndarray, " n"]
    label: Int64[np.ndarray, " n"]
    xyxy: Float64[np.ndarray, "n 4"]
    where: Callable[[int], str]

    def split(
        self, keep: Bool[np.ndarray, " n"], images: int
    ) -> list[tuple[Float64[np.ndarray, "_ 4"], Int64[np.ndarray, " _"]]]:
        """Corners and labels of each image, in the order of the file.

        Args:
            keep: Rows to take.
            images: How many images there are.
        """
        rows = np.flatnonzero(keep)
        rows = rows[np.argsort(self.image[rows], kind="stable")]
        ends = np.cumsum(np.bincount(self.image[rows], minlength=images))[:-1]
        xyxy, label = np.split(self.xyxy[rows], ends), np.split(self.label[rows], ends)
        return list(zip(xyxy, label, strict=True))[:images]


def read_categories(
    path: Path, records: Records, reading: Reading
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and ids of the categories, by rising id.

    Args:
        path: The file, for messages.
        records: Its `categories`.
        reading: Gets what is wrong.
    """
    found: dict[int, str] = {}
    for i, record in enumerate(records):
        where = place(path, "categories", i, record)
        key, name = whole_number(record.get("id")), record.get("name")
        if key is None or not isinstance(name, str) or not name:
            reading.problem(where, f"expected an integer id and a name, got {shown(record)}")
        elif key in found or name in found.values():
            reading.problem(where, f"expected ids and names of their own, got {key} {name!r} again")
        else:
            found[key] = name
    if not records:
        reading.problem(path, "expected categories, found none")
    return tuple(found[key] for key in sorted(found)), tuple(sorted(found))


def read_images(path: Path, records: Records, images: Path, reading: Reading) -> list[Listed]:
    """The images that can be used: named and numbered once, of a size, and on disk or missed.

    Args:
        path: The file, for messages.
        records: Its `images`.
        images: Folder that the names are relative to.
        reading: Gets what is wrong; missing pictures stay in the list.
    """
    out: list[Listed] = []
    keys: set[int] = set()
    names: set[str] = set()
    for i, record in enumerate(reading.track(records, "pictures")):
        where = place(path, "images", i, record)
        key, name = whole_number(record.get("id")), record.get("file_name")
        height, width = whole_number(record.get("height")), whole_number(record.get("width"))
        regions = record.get("ignore_regions") or []
        if key is None:
            reading.problem(where, f"expected an integer id, got {shown(record.get('id'))}")
        elif key in keys:
            reading.problem(where, f"expected an id of its own, got {key} again")
        elif not isinstance(name, str) or not safe_name(name):
            what = "expected a file_name inside the folder of pictures"
            reading.problem(where, f"{what}, got {shown(name)}")
        elif name in names:
            reading.problem(where, f"expected each picture once, got {name!r} again")
        elif height is None or width is None or min(height, width) < 1:
            got = f"{shown(record.get('width'))} and {shown(record.get('height'))}"
            reading.problem(where, f"{name}: expected width and height in pixels, got {got}")
        elif not isinstance(regions, list):
            got = shown(regions)
            reading.problem(where, f"{name}: expected a list of ignore_regions, got {got}")
        else:
            keys.add(key)
            names.add(name)
            _look_at_picture(images / name, (height, width), reading)
            out.append(Listed(key, name, (height, width), regions))
    return out


def read_annotations(
    path: Path,
    records: Records,
    listed: Sequence[Listed],
    all_keys: Container[int | None],
    category_ids: Sequence[int],
    reading: Reading,
) -> Columns:
    """The boxes of a file, ignore regions of its images among them.

    Args:
        path: The file, for messages.
        records: Its `annotations`.
        listed: Its usable images.
        all_keys: Ids of all its images: boxes of those that are a problem already are passed over.
        category_ids: Ids of the classes, in the order of the labels.
        reading: Gets what is wrong.
    """
    row_of = {image.key: row for row, image in enumerate(listed)}
    label_of = {key: label for label, key in enumerate(category_ids)}
    image: list[int] = []
    label: list[int] = []
    xywh: list[tuple[float, float, float, float]] = []
    sources: list[int] = []  # the annotation's index, or ~ that of the region
    regions = [(row, i) for row, entry in enumerate(listed) for i in range(len(entry.regions))]

    def where(source: int) -> str:
        if source >= 0:
            return place(path, "annotations", source, records[source])
        row, i = regions[~source]
        return f"{path}: ignore_regions[{i}] of {listed[row].file_name}"

    for source, record in enumerate(records):
        key = whole_number(record.get("image_id"))
        category = whole_number(record.get("category_id"))
        skipped = bool(record.get("iscrowd") or record.get("ignore"))
        box = four_numbers(record.get("bbox"))
        if key is None or key not in all_keys:
            got = shown(record.get("image_id"))
            reading.problem(where(source), f"expected the id of a listed image, got image_id {got}")
        elif key not in row_of:
            continue
        elif box is None:
            got = shown(record.get("bbox"))
            what = f"expected a bbox of four numbers [x, y, w, h], got {got}"
            reading.problem(where(source), what)
        elif not skipped and category not in label_of:
            what = f"expected one of the category ids {shown(list(category_ids))}"
            reading.problem(where(source), f"{what}, got {shown(record.get('category_id'))}")
        else:
            image.append(row_of[key])
            label.append(IGNORED if skipped or category is None else label_of[category])
            xywh.append(box)
            sources.append(source)
    for source, (row, i) in enumerate(regions):
        region = listed[row].regions[i]
        box = four_numbers(region)
        if box is None:
            what = f"expected four numbers [x, y, w, h], got {shown(region)}"
            reading.problem(where(~source), what)
        else:
            image.append(row)
            label.append(IGNORED)
            xywh.append(box)
            sources.append(~source)
    xyxy = np.array(xywh, np.float64).reshape(-1, 4)
    xyxy[:, 2:] += xyxy[:, :2]

    def where_and_picture(box_row: int) -> str:
        return f"{where(sources[box_row])} ({listed[image[box_row]].file_name})"

    return Columns(np.array(image, np.int64), np.array(label, np.int64), xyxy, where_and_picture)


def place(path: Path, list_name: str, index: int, record: dict[str, Any]) -> str:
    """Where a record stands: by its id if it has one, since that can be searched for.

    Args:
        path: The file.
        list_name: The list that it is in.
        index: Its place there.
        record: The record.
    """
    key = record.get("id")
    return (
        f"{path}: {list_name}[{index}]" if key is None else f"{path}: {list_name}, id {shown(key)}"
    )


def whole_number(value: object) -> int | None:
    """What an id or a size says, as a JSON number or a string of digits; None if it is neither."""
    if type(value) is int:
        return value
    if not isinstance(value, (float, str)):
        return None
    try:
        whole = int(value)
    except (ValueError, OverflowError):
        return None
    return whole if isinstance(value, str) or whole == value else None


def shown(value: object) -> str:
    """A value as it stands in the file, cut where it gets long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:80]} ..."


def four_numbers(value: object) -> tuple[float, float, float, float] | None:
    """A box or region, in pixels; None if it is anything but four numbers."""
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        return None
    if not {type(v) for v in value} <= {int, float}:  # true and false are numbers to Python
        return None
    x, y, w, h = map(float, value)
    return x, y, w, h


def _look_at_picture(picture: Path, listed_hw: tuple[int, int], reading: Reading) -> None:
    if not picture.is_file():
        reading.problem(picture, "expected the picture that is listed, there is no such file")
        return
    seen = picture_hw(picture, reading) if reading.check_pictures else listed_hw
    if seen is not None and seen != listed_hw:
        expected, got = (f"{hw[1]}x{hw[0]}" for hw in (listed_hw, seen))
        turned = "; its EXIF data turn it" if seen == listed_hw[::-1] else ""
        reading.problem(picture, f"expected {expected} as annotated, the picture has {got}{turned}")
