"""Results as Parquet: a row a frame, a file for each file of lines.

    OUT/results/000001.jsonl  ->  OUT/parquet/000001.parquet

A file of lines that is closed never changes, so its table is written once and moved into place
whole; whatever ends the program in between, the next start makes what is missing. Objects are a
nested column: `SELECT device, seq, unnest(objects) FROM 'OUT/parquet/*.parquet'` in DuckDB.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparsight_cloud.serving.records import Record
from sparsight_cloud.serving.segments import segment_numbers, segment_path
from sparsight_cloud.sinks.logs import all_records, classes_of, ends_of
from sparsight_cloud.sinks.results import Classes, class_name, read_classes, records_of

PARQUET = "parquet"
"""Name of the folder."""

ROWS = 4096
"""Frames in one row group: what is held in memory at a time."""

_SOURCE_BYTES = b"sparsight.source_bytes"  # length of the file of lines that a table was made of

OBJECT = pa.struct(
    [
        ("x0", pa.float32()),
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("score", pa.float32()),
        ("label", pa.uint32()),
        ("class", pa.string()),
    ]
)
"""One object; its box in pixels of the source frame."""

SCHEMA = pa.schema(
    [
        ("device", pa.string()),
        ("epoch", pa.uint64()),
        ("seq", pa.uint64()),
        ("stream", pa.string()),
        ("status", pa.string()),
        ("detail", pa.string()),
        ("captured", pa.timestamp("us", tz="UTC")),
        ("committed", pa.timestamp("us", tz="UTC")),
        ("frame_height", pa.uint32()),
        ("frame_width", pa.uint32()),
        ("bundle_id", pa.string()),
        ("rate", pa.uint8()),
        ("payload_bytes", pa.uint32()),
        ("lat_deg", pa.float64()),
        ("lon_deg", pa.float64()),
        ("alt_m", pa.float64()),
        ("yaw_deg", pa.float64()),
        ("pitch_deg", pa.float64()),
        ("roll_deg", pa.float64()),
        ("objects", pa.list_(OBJECT)),
    ]
)
"""One frame. Times are in microseconds: Python's own dates hold no finer ones."""

_TELEMETRY = ("lat_deg", "lon_deg", "alt_m", "yaw_deg", "pitch_deg", "roll_deg")


class ParquetSink:
    """Owns OUT/parquet."""

    def __init__(self, out: Path) -> None:
        """A sink of a folder of results."""
        self._out = out

    def catch_up(self) -> None:
        """Write the tables of closed files that have none."""
        self._write(segment_numbers(self._out)[:-1])

    def finish(self) -> None:
        """Write the open file's table too."""
        self._write(segment_numbers(self._out))

    def _write(self, numbers: Iterable[int]) -> None:
        folder = self._out / PARQUET
        for number in numbers:
            table = folder / f"{number:06d}.parquet"
            size_bytes = segment_path(self._out, number).stat().st_size
            if _source_bytes(table) != size_bytes:
                folder.mkdir(exist_ok=True)
                classes = read_classes(self._out)
                _write_table(records_of(self._out, number), classes, table, size_bytes)


def export_parquet(out: Path, file: Path) -> int:
    """Write all results into one table.

    Args:
        out: The folder of results, or the one above those of several gateways.
        file: Where the table goes.

    Returns:
        Frames written.

    Raises:
        DataError: A line of the results is damaged.
    """
    return _write_table(all_records(ends_of(out)), classes_of(out), file, 0)


def _write_table(records: Iterator[Record], classes: Classes, file: Path, source_bytes: int) -> int:
    part = file.with_name(f".{file.name}.part")
    schema = SCHEMA.with_metadata({_SOURCE_BYTES: str(source_bytes)})
    n = 0
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            while rows := [_row(r, classes) for r in itertools.islice(records, ROWS)]:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                n += len(rows)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return n


def _source_bytes(table: Path) -> int | None:
    """What a table was made of; None if there is none that can be read."""
    try:
        metadata = pq.read_schema(table).metadata or {}
        return int(metadata[_SOURCE_BYTES])
    except (OSError, KeyError, ValueError, pa.ArrowInvalid):
        return None


def _row(record: Record, classes: Classes) -> dict[str, Any]:
    key, found = record.result.key, record.result.detections
    objects = [
        {
            **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
            "score": score,
            "label": label,
            "class": class_name(classes, record.bundle_id, label),
        }
        for box, score, label in zip(
            found.xyxy.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]
    return {
        "device": key.device,
        "epoch": key.epoch,
        "seq": key.seq,
        "stream": record.stream,
        "status": record.result.status.name.lower(),
        "detail": record.result.detail,
        "captured": record.captured_unix_ns // 1000,
        "committed": record.committed_unix_ns // 1000,
        "frame_height": record.frame_hw[0],
        "frame_width": record.frame_hw[1],
        "bundle_id": record.bundle_id,
        "rate": record.rate,
        "payload_bytes": record.payload_bytes,
        "objects": objects,
        **{name: getattr(record.telemetry, name, None) for name in _TELEMETRY},
    }
