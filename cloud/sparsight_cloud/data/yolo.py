"""YOLO's text labels: a file for each picture, a line for each box, in shares of the picture.

    data.yaml            names: [car, truck]           or classes.txt, obj.names: a name a line
    images/a/b.jpg
    labels/a/b.txt       1 0.5 0.25 0.01 0.02          class from 0, centre x and y, width, height
    ignore/a/b.txt       0.8 0.1 0.2 0.1               centre x and y, width, height

YOLO knows no ignore regions. Here they lie beside it in `ignore/`, lines like those of the labels
without the class; other tools pass them over. `data.yaml` keeps the COCO ids of the classes under
`category_ids`; without it they count from 1, as COCO's do.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
import yaml
from jaxtyping import Float32, Float64, Int64

from sparsight.errors import DataError
from sparsight_cloud.data.boxes import IGNORED, fitted_image
from sparsight_cloud.data.choices import Placing
from sparsight_cloud.data.class_names import NAME_FILES, find_names, read_names
from sparsight_cloud.data.dataset import Dataset, LabelledImage
from sparsight_cloud.data.pairs import Pair, pair_up
from sparsight_cloud.data.pictures import list_pictures, picture_hw
from sparsight_cloud.data.reading import Reading
from sparsight_cloud.data.rows import Rows, read_rows

_BOX = ("class", "centre x", "centre y", "width", "height")
_PIXELS = 2.0  # a share that is larger can't be an overhang
_DECIMALS = 9  # of a share: 1e-5 px in a picture of 10000 px


def scan_yolo(annotations: Path, images: Path, reading: Reading) -> Dataset:
    """Reads what is fine in a YOLO set; what is wrong goes to `reading`.

    Args:
        annotations: `data.yaml` or a list of names; or the folder of the labels or the one above,
            with the names in it or above it.
        images: Folder of the pictures.
        reading: Gets what is wrong.

    Raises:
        DataError: There are no names, no pictures' folder or no labels' folder.
    """
    classes, category_ids = read_names(find_names(annotations))
    labels = _labels_folder(annotations, images)
    ignore = _beside(labels, "ignore")
    pairs = pair_up(list_pictures(images), labels, reading, NAME_FILES)
    unused = {path.relative_to(ignore).as_posix(): path for path in sorted(ignore.rglob("*.txt"))}
    out: list[LabelledImage] = []
    for pair in reading.track(pairs, "label files"):
        regions = unused.pop(str(PurePosixPath(pair.file_name).with_suffix(".txt")), None)
        image = _image(pair, regions, len(out) + 1, len(classes), reading)
        if image is not None:
            out.append(image)
    for path in unused.values():
        reading.problem(path, "expected a picture of that name, there is none")
    return Dataset(tuple(out), classes, category_ids)


def write_yolo(dataset: Dataset, folder: Path, pictures: Placing = Placing.LINK) -> None:
    """Writes a YOLO set into a folder of its own.

    Args:
        dataset: What to write.
        folder: Where to; made if it isn't there.
        pictures: Link the pictures into `images/`, copy them, or leave them where they are.

    Raises:
        DataError: Two pictures would share a label file.
    """
    names = [PurePosixPath(image.file_name).with_suffix("") for image in dataset.images]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise DataError(
            f"{folder}: expected a name of its own for each picture, two are {twice} but for the "
            "ending and would share a label file; rename one"
        )
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    for image, name in zip(dataset.images, names, strict=True):
        boxes = _shares(image.xyxy, image.frame_hw)
        lines = [f"{label} {box}" for label, box in zip(image.labels, boxes, strict=True)]
        _write_lines(folder / "labels" / f"{name}.txt", lines)
        if len(image.ignore_xyxy):
            regions = _shares(image.ignore_xyxy, image.frame_hw)
            _write_lines(folder / "ignore" / f"{name}.txt", regions)
        if pictures is not Placing.NONE:
            _place(image.path, folder / "images" / image.file_name, pictures)
    about = {
        "train": "images",
        "val": "images",
        "nc": len(dataset.classes),
        "names": dict(enumerate(dataset.classes)),
        "category_ids": list(dataset.category_ids),
    }
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def _labels_folder(annotations: Path, images: Path) -> Path:
    root = annotations if annotations.is_dir() else annotations.parent
    if annotations.is_dir() and not (annotations / "labels").is_dir():
        return annotations
    pictures = images.absolute()
    within = pictures.relative_to((root / "images").absolute()) if _is_below(pictures, root) else ""
    swapped = _beside(pictures, "labels", "images")
    candidates = [root / "labels" / within, swapped, root / "labels"]
    found = next((path for path in candidates if path.is_dir()), None)
    if found is None:
        tried = ", ".join(dict.fromkeys(map(str, candidates)))
        raise DataError(f"{annotations}: expected the folder of the labels, tried {tried}; name it")
    return found


def _is_below(pictures: Path, root: Path) -> bool:
    return pictures.is_relative_to((root / "images").absolute())


def _beside(folder: Path, name: str, instead_of: str = "labels") -> Path:
    """The folder with its last part of a name exchanged: labels/train -> ignore/train."""
    parts = list(folder.parts)
    if instead_of not in parts:
        return folder.parent / name
    last = len(parts) - 1 - parts[::-1].index(instead_of)
    return Path(*parts[:last], name, *parts[last + 1 :])


def _image(
    pair: Pair, regions: Path | None, image_id: int, classes: int, reading: Reading
) -> LabelledImage | None:
    frame_hw = picture_hw(pair.picture, reading)
    boxes = (
        Rows.none(pair.picture, len(_BOX))
        if pair.labels is None
        else read_rows(pair.labels, _BOX, reading, None, may_be_empty=reading.allow_empty)
    )
    ignored = (
        Rows.none(pair.picture, len(_BOX) - 1)
        if regions is None
        else read_rows(regions, _BOX[1:], reading, None, may_be_empty=True)
    )
    label = boxes.values[:, 0]
    known = np.isin(label, np.arange(classes))
    boxes.refuse(~known, f"a class from 0 to {classes - 1}", reading)
    shares = (np.abs(boxes.values[:, 1:]) <= _PIXELS).all(axis=1)
    small = (np.abs(ignored.values) <= _PIXELS).all(axis=1)
    as_shares = "shares of the picture's size, from 0 to 1 (are these pixels?)"
    boxes.refuse(known & ~shares, as_shares, reading)
    ignored.refuse(~small, as_shares, reading)
    boxes, ignored = boxes.take(known & shares), ignored.take(small)
    if frame_hw is None:
        return None
    xyxy = _corners(np.concatenate([boxes.values[:, 1:], ignored.values]), frame_hw)
    labels: Int64[np.ndarray, " n"] = np.concatenate(
        [boxes.values[:, 0].astype(np.int64), np.full(len(ignored), IGNORED, np.int64)]
    )
    first = len(boxes)
    return fitted_image(
        pair.picture,
        pair.file_name,
        image_id,
        frame_hw,
        xyxy,
        labels,
        lambda i: boxes.where(i) if i < first else ignored.where(i - first),
        reading,
    )


def _corners(
    cxcywh: Float64[np.ndarray, "n 4"], frame_hw: tuple[int, int]
) -> Float64[np.ndarray, "n 4"]:
    half = cxcywh[:, 2:] / 2
    shares = np.concatenate([cxcywh[:, :2] - half, cxcywh[:, :2] + half], axis=1)
    return shares * np.array([frame_hw[1], frame_hw[0]] * 2, np.float64)


def _shares(xyxy: Float32[np.ndarray, "n 4"], frame_hw: tuple[int, int]) -> list[str]:
    shares = xyxy.astype(np.float64) / np.array([frame_hw[1], frame_hw[0]] * 2, np.float64)
    centre, size = (shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]
    rows = np.concatenate([centre, size], axis=1)
    return [" ".join(f"{value:.{_DECIMALS}f}" for value in row) for row in rows]


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _place(picture: Path, target: Path, how: Placing) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if how is Placing.COPY:
        shutil.copy2(picture, target)
    else:
        target.symlink_to(picture.absolute())
