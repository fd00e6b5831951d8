"""Manifests: tables that name files, one a row, in CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparsight.errors import UsageError

MANIFEST_SUFFIXES = frozenset({".csv", ".jsonl", ".ndjson", ".parquet"})
"""Endings, in lower case, of the files that are taken for manifests."""

COLUMNS = ("path", "uri", "file", "file_name", "filename", "image", "url")
"""Columns that name files, the likeliest first."""


def read_manifest(data: bytes, name: str, suffix: str, column: str | None) -> list[str]:
    """The files that a manifest names.

    Args:
        data: The manifest.
        name: What errors call it.
        suffix: One of `MANIFEST_SUFFIXES`.
        column: The column that names them; None takes the first of `COLUMNS` that is there.

    Raises:
        UsageError: It can't be read, has no such column, or a row names nothing.
    """
    try:
        if suffix == ".csv":
            reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
            chosen = _chosen(reader.fieldnames or (), name, column)
            named: Iterable[Any] = [row[chosen] for row in reader]
        elif suffix == ".parquet":
            table = pq.ParquetFile(io.BytesIO(data))
            chosen = _chosen(table.schema_arrow.names, name, column)
            named = table.read([chosen], use_threads=False).column(0).to_pylist()
        else:
            rows = [json.loads(line) for line in data.splitlines() if line.strip()]
            if not all(isinstance(row, dict) for row in rows):
                raise UsageError(f"{name}: expected a JSON object a line")
            chosen = _chosen(tuple(rows[0]) if rows else (), name, column)
            named = [row.get(chosen) for row in rows]
    except (ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(f"{name}: can't be read as {suffix[1:]} ({why})") from error
    out = []
    for number, one in enumerate(named, 1):
        if not isinstance(one, str) or not one.strip():
            raise UsageError(
                f"{name}: row {number} names no file in column {chosen}, it has {one!r}; "
                "remove the row or fill it in"
            )
        out.append(one.strip())
    return out


def _chosen(names: Sequence[str], name: str, column: str | None) -> str:
    for wish in COLUMNS if column is None else (column,):
        if wish in names:
            return wish
    there = ", ".join(map(str, names)) or "none"
    wanted = f"one of {', '.join(COLUMNS)}" if column is None else repr(column)
    raise UsageError(
        f"{name}: expected a column {wanted} that names the files, it has {there}; "
        "say which with --column"
    )
