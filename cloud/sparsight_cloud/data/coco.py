"""COCO annotations, with two habits of drone sets: `ignore_regions` of an image and crowd boxes.

    {"images": [{id, file_name, width, height, ignore_regions?: [[x, y, w, h], ...]}],
     "annotations": [{image_id, category_id, bbox: [x, y, w, h], iscrowd?, ignore?}],
     "categories": [{id, name}]}

A box with `iscrowd` or `ignore` set becomes an ignore region of its image. An image that is listed
without boxes is a statement, and fine; a file without a single box is not.

Of an annotation the writer keeps what training and evaluation use: segmentations, truncation and
occlusion are not carried over.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from sparsight.errors import DataError
from sparsight.geometry import area
from sparsight_cloud.data.boxes import fit_boxes, labelled
from sparsight_cloud.data.coco_records import (
    Records,
    read_annotations,
    read_categories,
    read_images,
    whole_number,
)
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.data.outlines import read_outlines
from sparsight_cloud.data.pictures import require_folder
from sparsight_cloud.data.reading import Reading

_DECIMALS = 4  # of a pixel: finer than float32 is at 4000 px, and 871.0 is written as 871


def read_coco(annotations: Path, images: Path, *, allow_empty: bool = False) -> Dataset:
    """Reads a COCO file.

    Args:
        annotations: The JSON file.
        images: Folder that the `file_name`s are relative to.
        allow_empty: Whether a file without any box is fine.

    Raises:
        DataError: The file is missing, empty, no COCO JSON, or something in it is wrong; what is
            wrong is collected and told together.
    """
    reading = Reading(allow_empty=allow_empty)
    dataset = scan_coco(annotations, images, reading)
    reading.conclude(annotations, dataset)
    reading.refuse(annotations)
    return dataset


def scan_coco(annotations: Path, images: Path, reading: Reading) -> Dataset:
    """Reads what is fine in a COCO file; what is wrong goes to `reading`."""
    raw = load_json(annotations)
    dataset = assemble(annotations, raw, images, reading)
    outlines = read_outlines(annotations, raw["annotations"], reading)
    if not outlines:
        return dataset
    shaped = (replace(i, outlines=outlines.get(i.image_id, ())) for i in dataset.images)
    return replace(dataset, images=tuple(shaped))


def load_json(path: Path) -> dict[str, Records]:
    """The lists `images`, `annotations` and `categories` of a JSON file.

    Raises:
        DataError: There is no such file, it is empty, no JSON, or has another layout.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: can't read the annotations ({e}); give a COCO JSON file") from e
    if not text.strip():
        raise DataError(f"{path}: the annotation file is empty")
    try:
        raw = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as e:
        raise DataError(f"{path}: no valid JSON ({e})") from e
    expected = "expected a JSON object with images, annotations and categories"
    if not isinstance(raw, dict):
        hint = "; a list of detections is no data set" if isinstance(raw, list) else ""
        raise DataError(f"{path}: {expected}, got a {type(raw).__name__}{hint}")
    out = {}
    for key in ("images", "annotations", "categories"):
        records = raw.get(key)
        if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
            came = f"{key!r} is missing" if records is None else f"{key!r} is no list of objects"
            raise DataError(f"{path}: {expected}, {came}")
        out[key] = records
    return out


def assemble(path: Path, raw: dict[str, Records], images: Path, reading: Reading) -> Dataset:
    """Makes a data set of COCO's records.

    Args:
        path: The file they are from, for messages.
        raw: The lists `images`, `annotations` and `categories`.
        images: Folder that the `file_name`s are relative to.
        reading: Gets what is wrong.

    Raises:
        DataError: There is no folder of pictures.
    """
    require_folder(images, "pictures")
    names, category_ids = read_categories(path, raw["categories"], reading)
    listed = read_images(path, raw["images"], images, reading)
    all_keys = {whole_number(record.get("id")) for record in raw["images"]}
    frame_hw = np.array([image.frame_hw for image in listed], np.int64).reshape(-1, 2)
    columns = read_annotations(path, raw["annotations"], listed, all_keys, category_ids, reading)
    sizes = frame_hw[columns.image]
    xyxy, keep = fit_boxes(columns.xyxy, columns.label, sizes, columns.where, reading)
    parts = replace(columns, xyxy=xyxy).split(keep, len(listed))
    out = tuple(
        labelled(images / image.file_name, image.file_name, image.key, image.frame_hw, *part)
        for image, part in zip(listed, parts, strict=True)
    )
    return Dataset(out, names, category_ids)


def write_coco(dataset: Dataset, path: Path) -> None:
    """Writes a COCO file, whole or not at all.

    Args:
        dataset: What to write; its ids and order are kept.
        path: Where to; the folder is made.
    """
    images: Records = []
    annotations: Records = []
    for image in dataset.images:
        height, width = image.frame_hw
        regions = _xywh(image.ignore_xyxy)
        named: dict[str, Any] = {"id": image.image_id, "file_name": image.file_name}
        images.append(named | {"width": width, "height": height, "ignore_regions": regions})
        sizes = area(image.xyxy.astype(np.float64))
        for bbox, label, size in zip(_xywh(image.xyxy), image.labels, sizes, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.image_id,
                    "category_id": dataset.category_ids[label],
                    "bbox": bbox,
                    "area": _short(size),
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": key, "name": name}
        for key, name in zip(dataset.category_ids, dataset.classes, strict=True)
    ]
    raw = {"images": images, "annotations": annotations, "categories": categories}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(raw, separators=(",", ":")) + "\n", encoding="utf-8")
    unfinished.replace(path)


def _xywh(xyxy: Float32[np.ndarray, "n 4"]) -> list[list[float]]:
    out = xyxy.astype(np.float64)
    out[:, 2:] -= out[:, :2]
    return [[_short(value) for value in row] for row in out]


def _short(value: float) -> float | int:
    rounded = round(float(value), _DECIMALS)
    return int(rounded) if rounded.is_integer() else rounded
