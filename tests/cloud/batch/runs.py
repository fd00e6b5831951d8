"""Runs of `sparsight batch run` over small pictures, and what they should come to."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from tests.split import scene

from sparsight.bundle import open_bundle
from sparsight.pictures import MAX_PIXELS
from sparsight_cloud.batch.items import shards_of
from sparsight_cloud.batch.reading import Read
from sparsight_cloud.batch.sources import Taking, find_items
from sparsight_cloud.batch.stages import Deep, Look

CONF = 0.3
PROGRAM = [sys.executable, "-c", "from sparsight.cli import main; main()", "batch", "run"]


def write_flight(folder: Path, n: int) -> Path:
    """Pictures of two shapes; every tenth is damaged."""
    folder.mkdir()
    for i in range(n):
        file = folder / f"{i:03}.png"
        Image.fromarray(scene(i, (144, 256) if i % 3 else (128, 128))).save(file)
        if i % 10 == 4:
            file.write_bytes(file.read_bytes()[:300])
    return folder


def expected(flight: Path, bundle: Path, shard: int, budget: int = 16_000) -> list[dict[str, Any]]:
    """The rows of a run, made in this process without Ray."""
    from dataclasses import replace

    settings = replace(open_bundle(bundle).manifest.detect_settings(), score_min=CONF)
    read = Read(settings.long_side_px, MAX_PIXELS)
    look, deep = Look(bundle, settings), Deep(bundle, settings, budget)
    rows = []
    for one in shards_of(find_items([str(flight)], Taking()), shard):
        made, _ = deep.run(look.run(read.run(one.items)))
        for i, (item, row) in enumerate(zip(one.items, made, strict=True), one.first):
            found = row.found
            rows.append(
                {
                    "id": i,
                    "path": item.path,
                    "boxes": found.xyxy.tolist(),
                    "scores": found.scores.tolist(),
                    "labels": found.labels.tolist(),
                    "error": row.error,
                }
            )
    return rows


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The rows that are there, sorted by id, without what differs from run to run."""
    columns = ["id", "path", "boxes", "scores", "labels", "error"]
    rows: list[dict[str, Any]] = pq.read_table(out / "rows", columns=columns).to_pylist()
    return sorted(rows, key=lambda row: int(row["id"]))


def start(flight: Path, bundle: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """Start the program, with a cluster of its own."""
    return subprocess.Popen(
        [
            *PROGRAM,
            str(flight),
            "--out",
            str(out),
            "--bundle",
            str(bundle),
            "--conf",
            str(CONF),
            "--json",
            *more,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 240) -> tuple[int, Any, str]:
    """Exit code, summary and what was said."""
    said, errors = process.communicate(timeout=timeout_s)
    return process.returncode, json.loads(said) if said else None, errors
