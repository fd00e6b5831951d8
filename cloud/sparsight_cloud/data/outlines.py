"""Instance masks of a COCO file, as outlines: the seeker's labels follow an object's shape.

    "segmentation": [[x, y, x, y, ...], ...]           polygons
    "segmentation": {"size": [h, w], "counts": ...}    run lengths, plain or compressed
    "segmentation": []                                 none

A polygon that is the box itself, as some sets have for every object, says nothing about a shape and
is passed over.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from faster_coco_eval.core import mask as run_lengths
from jaxtyping import Float32

from sparsight_cloud.data.coco_records import Records, four_numbers, place, shown, whole_number
from sparsight_cloud.data.dataset import Outline
from sparsight_cloud.data.reading import Reading

_SAME_PX = 1.0  # a polygon this close to its box is the box

Ring = Float32[np.ndarray, "_ 2"]


def read_outlines(path: Path, records: Records, reading: Reading) -> dict[int, tuple[Outline, ...]]:
    """The shapes of objects, by the id of their image; those of ignore regions are left out.

    Args:
        path: The file, for messages.
        records: Its `annotations`.
        reading: Gets what is wrong.
    """
    found: dict[int, list[Outline]] = {}
    for i, record in enumerate(records):
        drawn = record.get("segmentation")
        if not drawn or record.get("iscrowd") or record.get("ignore"):
            continue
        key, box = whole_number(record.get("image_id")), four_numbers(record.get("bbox"))
        if key is None or box is None:
            continue  # a problem of the boxes' reader
        try:
            rings = _from_runs(drawn) if isinstance(drawn, dict) else _from_polygons(drawn)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
            what = "expected a segmentation of polygons or run lengths"
            reading.problem(place(path, "annotations", i, record), f"{what}, got {shown(drawn)}")
            continue
        x, y, w, h = box
        xyxy = np.array([x, y, x + w, y + h], np.float32)
        if rings and not _is_box(rings, xyxy):
            found.setdefault(key, []).append(Outline(xyxy, rings))
    return {key: tuple(outlines) for key, outlines in found.items()}


def _from_polygons(drawn: Any) -> tuple[Ring, ...]:
    rings = tuple(np.asarray(ring, np.float32).reshape(-1, 2) for ring in drawn)
    if any(len(ring) < 3 or not np.isfinite(ring).all() for ring in rings):
        raise ValueError("a polygon has three points")
    return rings


def _from_runs(drawn: dict[str, Any]) -> tuple[Ring, ...]:
    height, width = (int(side) for side in drawn["size"])
    runs = drawn["counts"]
    packed = {"size": [height, width], "counts": runs}
    if isinstance(runs, list):
        if sum(runs) != height * width:
            raise ValueError("the runs fill the picture")
        packed = run_lengths.frPyObjects(packed, height, width)
    else:
        packed["counts"] = runs.encode()
    mask = np.ascontiguousarray(run_lengths.decode(packed))
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    # OpenCV's lines run through the centres of pixels.
    return tuple(
        contour.reshape(-1, 2).astype(np.float32) + np.float32(0.5) for contour in contours
    )


def _is_box(rings: tuple[Ring, ...], xyxy: Float32[np.ndarray, " 4"]) -> bool:
    if len(rings) > 1 or not 4 <= len(rings[0]) <= 5:
        return False
    to_corner = np.abs(rings[0][:, None] - xyxy.reshape(2, 2)[None]).min(1)
    return bool((to_corner <= _SAME_PX).all())
