"""All rows of a run as one COCO file: an image a row, an annotation an object with its score.

Rows with an error are left out: nobody knows what is on them. The rows are read twice and never
held; what is written goes to a temporary file first, since a picture may have hundreds of objects.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from sparsight_cloud.batch.store import Store

COCO = "detections.json"
"""Name of the file."""


def write_coco(
    store: Store, rows: Callable[[], Iterator[dict[str, Any]]], classes: Sequence[str]
) -> None:
    """Write OUT/detections.json.

    Args:
        store: The folder of results.
        rows: Reads all rows from the first on, each time it is called.
        classes: Names of the labels; the first has category id 1.

    Raises:
        UsageError: It can't be written.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'{"info": {"description": "sparsight batch"}, "images": [')
        _write(file, (_image(row) for row in rows() if row["error"] is None))
        file.write(b'], "annotations": [')
        _write(file, _annotations(rows()))
        file.write(b'], "categories": [')
        _write(file, ({"id": i, "name": name} for i, name in enumerate(classes, 1)))
        file.write(b"]}\n")
        file.flush()
        store.copy(COCO, Path(file.name))


def _image(row: dict[str, Any]) -> dict[str, Any]:
    named = row["device"] is not None
    key = f"{row['device']}/{row['epoch']}/{row['seq']}" if named else None
    return {
        "id": row["id"] + 1,  # some readers take 0 for none
        "file_name": row["path"] if key is None else key,
        "width": row["width"],
        "height": row["height"],
    } | ({} if row["frame"] is None else {"frame": row["frame"]})


def _annotations(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    number = 0
    for row in rows:
        for (x0, y0, x1, y1), score, label in zip(
            row["boxes"], row["scores"], row["labels"], strict=True
        ):
            number += 1
            yield {
                "id": number,
                "image_id": row["id"] + 1,
                "category_id": label + 1,
                "bbox": [round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2)],
                "area": round((x1 - x0) * (y1 - y0), 2),
                "iscrowd": 0,
                "score": round(score, 5),
            }


def _write(file: IO[bytes], items: Iterable[dict[str, Any]]) -> None:
    """Write a JSON list's inside, an item a line."""
    for i, item in enumerate(items):
        file.write(b",\n" if i else b"\n")
        file.write(orjson.dumps(item))
