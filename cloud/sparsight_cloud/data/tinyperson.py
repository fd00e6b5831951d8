"""TinyPerson: COCO's layout, with flags on the boxes.

    annotations: {..., category_id: 1 sea_person | 2 earth_person,
                  ignore, uncertain, logo, in_dense_image: true | false}
    images:      {..., corner?: [x1, y1, x2, y2]}     one window of a picture, boxes relative to it

The rules of the benchmark (TinyPerson annotation document, section 3.1):
- both categories are one class, person;
- `ignore` (crowds, reflections) and `uncertain` boxes are neither right nor wrong: ignore regions.
  `logo` (watermarks) is treated alike, as the benchmark does when it erases them;
- dense images, of more than 200 persons labelled loosely, are neither trained on nor judged: a
  picture with an `in_dense_image` box is left out.

Corner files are put back together into whole pictures (`corners`): this detector cuts for itself.

Source: Yu et al., "Scale Match for Tiny Person Detection", arXiv 1912.10664, and its annotation
document in ucas-vg/PointTinyBenchmark.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparsight_cloud.data.coco import assemble, load_json
from sparsight_cloud.data.coco_records import Records, four_numbers, place, shown, whole_number
from sparsight_cloud.data.corners import join_views
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.data.pictures import picture_hw, require_folder
from sparsight_cloud.data.reading import Reading

PERSON = 1
"""COCO id of the one class."""

_SKIPPED = ("ignore", "uncertain", "logo", "iscrowd")

Window = tuple[float, float, float, float]
Part = tuple[dict[str, Any], tuple[float, float, float, float], Window]


def scan_tinyperson(annotations: Path, images: Path, reading: Reading) -> Dataset:
    """Reads what is fine in a TinyPerson file; what is wrong goes to `reading`.

    Args:
        annotations: The JSON file, of whole pictures or of corners.
        images: Folder that the `file_name`s are relative to (`tiny_set/train` or `test`).
        reading: Gets what is wrong.

    Raises:
        DataError: The file can't be read, or there is no folder of pictures.
    """
    raw = load_json(annotations)
    require_folder(images, "pictures")
    listed, boxes = _without_dense(raw["images"], raw["annotations"], reading)
    keys = [whole_number(record.get("id")) for record in raw["categories"]]
    known = sorted(key for key in keys if key is not None)
    persons: Records = []
    for i, record in enumerate(boxes):
        skipped = any(record.get(flag) for flag in _SKIPPED)
        if skipped or whole_number(record.get("category_id")) in known:
            persons.append(record | {"category_id": PERSON, "ignore": skipped, "iscrowd": 0})
        else:
            what = f"expected one of the category ids {shown(known)}"
            got = shown(record.get("category_id"))
            reading.problem(place(annotations, "annotations", i, record), f"{what}, got {got}")
    if any("corner" in record for record in listed):
        listed, persons = _whole_pictures(annotations, listed, persons, images, reading)
    categories = [{"id": PERSON, "name": "person"}]
    coco = {"images": listed, "annotations": persons, "categories": categories}
    return assemble(annotations, coco, images, reading)


def _without_dense(
    images: Records, annotations: Records, reading: Reading
) -> tuple[Records, Records]:
    dense = {whole_number(a.get("image_id")) for a in annotations if a.get("in_dense_image")}
    if not dense:
        return images, annotations
    key_of = [whole_number(image.get("id")) for image in images]
    name_of = [str(image.get("file_name")) for image in images]
    names = {name for key, name in zip(key_of, name_of, strict=True) if key in dense}
    left_out = {key for key, name in zip(key_of, name_of, strict=True) if name in names}
    reading.note(
        f"{len(names)} dense pictures left out: their labels are loose, and the benchmark neither "
        "trains nor judges on them"
    )
    kept = [image for image, name in zip(images, name_of, strict=True) if name not in names]
    return kept, [a for a in annotations if whole_number(a.get("image_id")) not in left_out]


def _whole_pictures(
    path: Path, windows: Records, annotations: Records, images: Path, reading: Reading
) -> tuple[Records, Records]:
    window_of: dict[int, tuple[str, Window]] = {}
    for i, record in enumerate(windows):
        window, key = _window(record), whole_number(record.get("id"))
        if window is None or key is None:
            size = f"{shown(record.get('width'))}x{shown(record.get('height'))}"
            what = f"expected an id and a corner [x1, y1, x2, y2] of {size} px"
            got = f"{shown(record.get('id'))} and {shown(record.get('corner'))}"
            reading.problem(place(path, "images", i, record), f"{what}, got {got}")
        else:
            window_of[key] = str(record.get("file_name")), window
    parts_of: defaultdict[str, list[Part]] = defaultdict(list)
    for i, record in enumerate(annotations):
        box, key = four_numbers(record.get("bbox")), whole_number(record.get("image_id"))
        if box is None or key not in window_of:
            what = "expected the id of a listed image and a bbox [x, y, w, h]"
            got = f"{shown(record.get('image_id'))} and {shown(record.get('bbox'))}"
            reading.problem(place(path, "annotations", i, record), f"{what}, got {got}")
        else:
            name, window = window_of[key]
            parts_of[name].append((record, box, window))
    listed: Records = []
    joined: Records = []
    names = list(dict.fromkeys(name for name, _ in window_of.values()))
    for name in reading.track(names, "pictures"):
        frame_hw = picture_hw(images / name, reading)
        if frame_hw is not None:
            joined += _joined(parts_of[name], len(listed))
            height, width = frame_hw
            whole = {"id": len(listed), "file_name": name, "height": height, "width": width}
            listed.append(whole)
    return listed, joined


def _joined(parts: Sequence[Part], image_id: int) -> Records:
    boxes = np.array([box for _, box, _ in parts], np.float64).reshape(-1, 4)
    windows = np.array([window for _, _, window in parts], np.float64).reshape(-1, 4)
    kinds = np.array([bool(record["ignore"]) for record, _, _ in parts], np.int64)
    low = boxes[:, :2] + windows[:, :2]
    xyxy = np.concatenate([low, low + boxes[:, 2:]], axis=1)
    objects, first = join_views(xyxy, windows, kinds)
    objects[:, 2:] -= objects[:, :2]
    return [
        parts[row][0] | {"image_id": image_id, "bbox": box}
        for row, box in zip(first, objects.tolist(), strict=True)
    ]


def _window(record: dict[str, object]) -> Window | None:
    """A window's corners. The document writes (x, y, w, h), the files hold x1, y1, x2, y2."""
    corner = four_numbers(record.get("corner"))
    width, height = whole_number(record.get("width")), whole_number(record.get("height"))
    if corner is None or width is None or height is None:
        return None
    x, y, *rest = corner
    if rest in ([x + width, y + height], [width, height]):
        return x, y, x + width, y + height
    return None
