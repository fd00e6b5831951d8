"""Results as one COCO file: an image a frame, an annotation an object.

An image's `file_name` is device/epoch/seq, its `telemetry` where the camera was, or null; an
annotation has its `score`. Category ids count the classes of all bundles from 1, the same name
being the same category. Frames that were refused are left out: nobody knows what is on them.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from sparsight.wire import FrameStatus
from sparsight_cloud.serving.records import Record
from sparsight_cloud.sinks.logs import Ends, all_records, classes_of, ends_of
from sparsight_cloud.sinks.results import class_name

COCO = "coco.json"
"""Name of the file in the folder of results."""


class CocoSink:
    """Owns OUT/coco.json, which is written when the cloud goes down."""

    def __init__(self, out: Path) -> None:
        """A sink of a folder of results."""
        self._out = out

    def catch_up(self) -> None:
        """Nothing: a COCO file is whole or none."""

    def finish(self) -> None:
        """Write the file anew."""
        export_coco(self._out, self._out / COCO)


def export_coco(out: Path, file: Path) -> int:
    """Write all results into one COCO file.

    The results are read twice and never held: a day of them does not fit into memory.

    Args:
        out: The folder of results, or the one above those of several gateways.
        file: Where it goes.

    Returns:
        Frames written.

    Raises:
        DataError: A line of the results is damaged.
    """
    ends = ends_of(out)  # more may come meanwhile: images and annotations are of the same frames
    classes = classes_of(out)  # after them: a bundle is noted before its first frame
    categories: dict[str, int] = {}
    for names in classes.values():
        for name in names:
            categories.setdefault(name, len(categories) + 1)

    def category(record: Record, label: int) -> int:
        name = class_name(classes, record.bundle_id, label)
        return categories.setdefault(name, len(categories) + 1)

    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as f:
            f.write(b'{"info": {"description": "results of sparsight"}, "images": [')
            n = _write_items(f, (_image(i, record) for i, record in _answered(ends)))
            f.write(b'], "annotations": [')
            _write_items(f, _annotations(_answered(ends), category))
            f.write(b'], "categories": [')
            _write_items(f, ({"id": i, "name": name} for name, i in categories.items()))
            f.write(b"]}\n")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return n


def _answered(ends: Ends) -> Iterator[tuple[int, Record]]:
    """Frames that have an answer, counted from 1."""
    good = (r for r in all_records(ends) if r.result.status is FrameStatus.OK)
    return enumerate(good, start=1)


def _image(image_id: int, record: Record) -> dict[str, Any]:
    key = record.result.key
    captured_s = record.captured_unix_ns / 1e9
    return {
        "id": image_id,
        "file_name": f"{key.device}/{key.epoch}/{key.seq}",
        "width": record.frame_hw[1],
        "height": record.frame_hw[0],
        "date_captured": datetime.datetime.fromtimestamp(captured_s, datetime.timezone.utc),
        "device": key.device,
        "epoch": key.epoch,
        "seq": key.seq,
        "stream": record.stream,
        "captured_unix_ns": record.captured_unix_ns,
        "telemetry": record.telemetry and record.telemetry.known(),
    }


def _annotations(
    read: Iterable[tuple[int, Record]], category: Callable[[Record, int], int]
) -> Iterator[dict[str, Any]]:
    annotation_id = 0
    for image_id, record in read:
        found = record.result.detections
        for box, score, label in zip(
            found.xyxy.astype(np.float64), found.scores, found.labels.tolist(), strict=True
        ):
            annotation_id += 1
            width, height = box[2] - box[0], box[3] - box[1]
            yield {
                "id": annotation_id,
                "image_id": image_id,
                "category_id": category(record, label),
                "bbox": [box[0], box[1], width, height],
                "area": width * height,
                "iscrowd": 0,
                "score": score,
            }


def _write_items(file: BinaryIO, items: Iterable[dict[str, Any]]) -> int:
    """Write a JSON list's inside, an item a line."""
    n = 0
    for item in items:
        file.write(b",\n" if n else b"\n")
        file.write(orjson.dumps(item, option=orjson.OPT_SERIALIZE_NUMPY))
        n += 1
    return n
