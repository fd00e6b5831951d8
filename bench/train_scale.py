"""`sparsight train --workers`: pictures a second with two workers over one.

    python -m bench.train_scale --json bench/results/published-DATE-train-scale.json

Both have the same data and the same crops a worker and step, one thread a worker. Runs take turns,
since machines drift; each has a cluster to itself that is there already, and its first steps, in
which libraries compile and allocate, don't count.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from sparsight_cloud.data.coco import read_coco
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.training.config import DataConfig, TrainConfig
from sparsight_cloud.training.loop import Moment
from sparsight_cloud.training.ray_run import run_on_ray

WARM_STEPS = 5
WORKERS = (1, 2)


class Watch:
    """A `Watcher` that keeps the first moment after the warm steps, and the last."""

    def __init__(self) -> None:
        self.first: Moment | None = None
        self.last: Moment | None = None

    def begin(self, moment: Moment) -> None:
        """Nothing has happened yet."""

    def step(self, moment: Moment) -> None:
        """Keep it."""
        if moment.step >= WARM_STEPS:
            self.first = self.first or moment
            self.last = moment

    def steps_per_s(self) -> float:
        """Between the two."""
        assert self.first is not None and self.last is not None
        return (self.last.step - self.first.step) / (self.last.elapsed_s - self.first.elapsed_s)


def pace(dataset: Dataset, args: argparse.Namespace, workers: int) -> float:
    """Crops a second of one run."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as out:
        config = TrainConfig(
            data=DataConfig(annotations=args.annotations, images=args.images),
            batch=args.crops * workers,
            processes=workers,
            steps=args.steps + WARM_STEPS,
            device="cpu",
            out=Path(out).resolve(),
        )
        run_on_ray(config, dataset, watch, lambda line: None)
    return watch.steps_per_s() * config.batch


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    samples = Path("samples/munich")
    parser.add_argument("--annotations", type=Path, default=samples / "annotations.json")
    parser.add_argument("--images", type=Path, default=samples)
    parser.add_argument("--crops", type=int, default=2, help="a worker and step")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    console = Console(stderr=True)
    dataset = read_coco(args.annotations.resolve(), args.images.resolve())
    figures = measure(dataset, args, console)
    table = Table("workers", "crops a second", "over one")
    for workers in WORKERS:
        one = figures["crops_per_s"][str(workers)]
        mean = fmean(one)
        over = mean / fmean(figures["crops_per_s"]["1"])
        table.add_row(str(workers), f"{mean:.2f} ({min(one):.2f} to {max(one):.2f})", f"{over:.2f}")
    console.print(table)
    text = json.dumps(figures, indent=1)
    if args.json:
        args.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


def measure(dataset: Dataset, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """All rounds."""
    cluster = RayCluster(cpus=max(WORKERS) + 1, with_serve=False)
    cluster.connect()
    got: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    try:
        for number in range(1, args.rounds + 1):
            for workers in WORKERS:
                got[workers].append(pace(dataset, args, workers))
                console.print(
                    f"round {number} of {args.rounds}, {workers} workers: "
                    f"{got[workers][-1]:.2f} crops a second"
                )
    finally:
        cluster.disconnect()
    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "crops_a_worker_and_step": args.crops,
        "steps": args.steps,
        "crops_per_s": {str(k): [round(v, 3) for v in values] for k, values in got.items()},
        "two_over_one": round(fmean(got[2]) / fmean(got[1]), 3),
    }


if __name__ == "__main__":
    main()
