"""`sparsight batch run` on two nodes, one of which is killed in mid-job, against a run left alone.

    python -m bench.batch_nodes --json bench/results/published-DATE-batch-nodes.json

    alone     node1 and node2, to the end
    killed    the same; node2 loses its power once a third of the shards is written

The program runs on node1, pictures and results lie in a folder that both see. Each node has one
processor, and the run takes both: nothing is free for what the lost node did. What is asked: every
picture once, and rows that are the same to the bit. Takes two minutes; needs Linux, root and the
program `ip`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from bench.nodes import Nodes
from PIL import Image
from rich.console import Console
from rich.table import Table
from tests.split import scene, write_split_bundle

PROGRAM = [sys.executable, "-c", "from sparsight.cli import main; main()", "batch", "run"]
COLUMNS = ["id", "path", "width", "height", "boxes", "scores", "labels", "patches", "error"]
SHARD = 4
LIMIT_S = 300.0

_DRIVES, _DIES = "node1", "node2"


def run(
    nodes: Nodes, top: Path, name: str, meanwhile: Callable[[subprocess.Popen[str], Path], None]
) -> dict[str, Any]:
    """One run of the program; its summary, and how long it took."""
    out = top / name
    begin_s = time.monotonic()
    arguments = [str(top / "pictures"), "--out", str(out), "--bundle", str(top / "bundle")]
    more = ["--conf", "0.3", "--shard", str(SHARD), "--json", "--address", nodes.address]
    with (top / f"{name}.log").open("w+") as log:
        command = [*PROGRAM, *arguments, *more]
        process = nodes.run_in(_DRIVES, command, stdout=subprocess.PIPE, stderr=log)
        meanwhile(process, out)
        said, _ = process.communicate(timeout=LIMIT_S)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{name}: exit code {process.returncode}: {log.read()[-2000:]}")
    summary: dict[str, Any] = json.loads(said)
    return {"wall_s": round(time.monotonic() - begin_s, 1), **summary["this_start"]}


def rows_of(out: Path) -> list[dict[str, Any]]:
    """What must not depend on how it was computed."""
    table = pq.read_table(out / "rows", columns=COLUMNS)
    return sorted(table.to_pylist(), key=lambda row: int(row["id"]))


def shards(out: Path) -> int:
    """How many are written."""
    return len(list(out.glob("rows/shard-*.parquet")))


def measure(pictures: int) -> dict[str, Any]:
    """Both runs, compared."""
    at = 0

    def kill(process: subprocess.Popen[str], out: Path) -> None:
        nonlocal at
        while shards(out) < pictures // SHARD // 3 and process.poll() is None:
            time.sleep(0.01)
        nodes.kill(_DIES)
        at = shards(out)

    with Nodes(cpus=(0, 1, 1)) as nodes, tempfile.TemporaryDirectory(dir=nodes.folder) as folder:
        top = Path(folder)
        (top / "pictures").mkdir()
        for i in range(pictures):
            Image.fromarray(scene(i)).save(top / "pictures" / f"{i:04d}.png")
        write_split_bundle(top / "bundle")
        alone = run(nodes, top, "alone", lambda *_: None)
        killed = run(nodes, top, "killed", kill)
        want, got = rows_of(top / "alone"), rows_of(top / "killed")
    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "pictures": pictures,
        "shards": -(-pictures // SHARD),
        "alone": alone,
        "killed": {**killed, "shards_then": at},
        "complete": [row["id"] for row in got] == list(range(pictures)),
        "same_rows": got == want,
    }


def table_of(figures: dict[str, Any]) -> Table:
    """For people."""
    title = f"{figures['pictures']} pictures in {figures['shards']} shards"
    table = Table(title=title, title_justify="left")
    table.add_column("run")
    for name in ("shards written at the kill", "wall, s", "complete", "same rows"):
        table.add_column(name, justify="right")
    alone, killed = figures["alone"], figures["killed"]
    table.add_row("alone", "", f"{alone['wall_s']:.0f}")
    held = (str(figures[name]) for name in ("complete", "same_rows"))
    table.add_row("killed", str(killed["shards_then"]), f"{killed['wall_s']:.0f}", *held)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; 1 if a row is missing or differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="file for all figures")
    args = parser.parse_args(argv)
    with Console(stderr=True).status("two runs on two nodes"):
        figures = measure(args.pictures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    Console().print(table_of(figures))
    return int(not (figures["complete"] and figures["same_rows"]))


if __name__ == "__main__":
    sys.exit(main())
