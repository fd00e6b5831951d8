"""The rows: what is written of each item, and the shards' files as Parquet.

    OUT/rows/shard-000012.parquet      a row an item, in the order of the list, whole or not there

A file's metadata says what it took to make it, so that a run is summed up without reading it all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparsight.detections import Detections
from sparsight.wire import FrameKey
from sparsight_cloud.batch.items import Item

ROWS = "rows"
"""Name of the folder."""

_MADE = b"sparsight.made"

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("path", pa.string()),
        ("frame", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("boxes", pa.list_(pa.list_(pa.float32(), 4))),
        ("scores", pa.list_(pa.float32())),
        ("labels", pa.list_(pa.int32())),
        ("classes", pa.list_(pa.string())),
        ("patches", pa.int32()),
        ("kept_area", pa.float32()),
        ("read_ms", pa.float32()),
        ("look_ms", pa.float32()),
        ("deep_ms", pa.float32()),
        ("error", pa.string()),
        ("device", pa.string()),
        ("epoch", pa.uint64()),
        ("seq", pa.uint64()),
    ]
)
"""One item. Boxes are xyxy in pixels of the picture, best first; what an item with an error has
not is null, its lists are empty. Recorded payloads have a device, an epoch and a seq."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one item.

    Attributes:
        frame_hw: Height and width, in pixels; None if it could not be read.
        found: Its objects.
        patches: How many were kept.
        kept_area: Share of the picture under them.
        read_ms: Time of opening and decoding, in milliseconds.
        look_ms: Of letterbox, device half and slicer.
        deep_ms: Its share, by kept cells, of the deep part's time.
        error: Why there is no answer, in one line; None if there is one.
        key: Name of the frame, if a device gave it one.
    """

    frame_hw: tuple[int, int] | None
    found: Detections
    patches: int
    kept_area: float
    read_ms: float
    look_ms: float
    deep_ms: float
    error: str | None
    key: FrameKey | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What it took to make a shard.

    Attributes:
        pictures: Items in it.
        failed: Those with an error.
        batches: Passes through the deep part.
        kept_cells: Cells of the patches in them.
        computed_cells: Cells that the deep part computed for them.
        began_unix_s: When its first picture was opened.
    """

    pictures: int
    failed: int
    batches: int
    kept_cells: int
    computed_cells: int
    began_unix_s: float


def name_of(shard: int) -> str:
    """A shard's file, below the folder of results."""
    return f"{ROWS}/shard-{shard:06d}.parquet"


def as_parquet(
    first: int, items: Sequence[Item], rows: Sequence[Row], classes: Sequence[str], made: Made
) -> bytes:
    """The bytes of a shard's file.

    Args:
        first: Id of its first item.
        items: Its items.
        rows: What came of them.
        classes: Names of the labels.
        made: What it took.
    """
    records = [
        _record(first + i, item, row, classes)
        for i, (item, row) in enumerate(zip(items, rows, strict=True))
    ]
    schema = SCHEMA.with_metadata({_MADE: json.dumps(asdict(made))})
    file = BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema=schema), file, compression="zstd")
    return file.getvalue()


def read_parquet(file: Any, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of an open Parquet file.

    In the thread that asks: one of Arrow's own that still holds a file of Python's when the program
    ends aborts it (`terminate called without an active exception`), once in thirty times on a busy
    machine. `pyarrow.parquet.read_table` reads by such threads, whatever its options say.

    Args:
        file: Opened for reading.
        columns: Those that are wanted; None for all.
    """
    table = pq.ParquetFile(file, pre_buffer=False)
    return table.read(None if columns is None else [*columns], use_threads=False)


def made_of(file: Any) -> Made | None:
    """What it took to make a shard, from its open file; None if that is damaged."""
    try:
        table = pq.ParquetFile(file)
        made = Made(**json.loads((table.schema_arrow.metadata or {})[_MADE]))
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return None
    return made if table.metadata.num_rows == made.pictures else None


def _record(number: int, item: Item, row: Row, classes: Sequence[str]) -> dict[str, Any]:
    height, width = row.frame_hw or (None, None)
    bad = row.error is not None
    labels = row.found.labels.tolist()
    return {
        "id": number,
        "path": item.path,
        "frame": item.frame,
        "width": width,
        "height": height,
        "boxes": row.found.xyxy.tolist(),
        "scores": row.found.scores.tolist(),
        "labels": labels,
        "classes": [classes[label] for label in labels],
        "patches": None if bad else row.patches,
        "kept_area": None if bad else row.kept_area,
        "read_ms": row.read_ms,
        "look_ms": None if bad else row.look_ms,
        "deep_ms": None if bad else row.deep_ms,
        "error": row.error,
        "device": row.key and row.key.device,
        "epoch": row.key and row.key.epoch,
        "seq": row.key and row.key.seq,
    }
