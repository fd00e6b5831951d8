"""What a frame costs a device besides its network, and how close the codec comes to its entropy.

    python -m bench.device --bundle models/default --frames samples/munich

    picture ─ letterbox ─ engine ─ slice, encode ─ spool     one after the other, each timed
    spool ─ uplink ─> a process that says yes to all         CPU time of the whole of this process

The stages are the agent's own, run in one thread so that none waits for another. Time is CPU time
of the thread, which other programs on the machine stretch least; wall time is beside it. Reading a
picture from its file is timed as well, but is no part of the ratio: a camera does that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, median
from typing import Any

import cv2
from bench.entropy import CodedBytes, measure_coded
from bench.yes_cloud import yes_cloud
from rich.console import Console
from rich.table import Table

from sparsight.bundle import default_bundle
from sparsight.codec.payload import VERSION as CODEC_VERSION
from sparsight.errors import UsageError
from sparsight.wire import FrameFeatures, FrameKey, Hello, pack_device_message
from sparsight_edge.capture.choose import open_source
from sparsight_edge.model import EdgeModel
from sparsight_edge.spool.spool import Spool
from sparsight_edge.steady import Steady, SteadySettings
from sparsight_edge.uplink.channel import Endpoint
from sparsight_edge.uplink.uplink import Uplink

DEVICE, STREAM = "bench", "main"
STAGES = ("capture", "letterbox", "engine", "slice+encode", "spool")
OUTSIDE = ("letterbox", "slice+encode", "spool", "uplink")
DRAIN_S = 120.0


@dataclass
class Spent:
    """Milliseconds of each stage, frame by frame."""

    cpu: dict[str, list[float]] = field(default_factory=lambda: {s: [] for s in STAGES})
    wall: dict[str, list[float]] = field(default_factory=lambda: {s: [] for s in STAGES})

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Time what happens inside."""
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        yield
        self.cpu[stage].append((time.thread_time() - cpu_s) * 1e3)
        self.wall[stage].append((time.perf_counter() - wall_s) * 1e3)


def run_frames(
    model: EdgeModel, frames: str, rounds: int, spool: Spool, limit: int | None
) -> tuple[Spent, list[bytes]]:
    """Run the stages on every frame, into the spool.

    Args:
        model: The device half.
        frames: As `--source` of `edge run`.
        rounds: How often; one more goes before, in which everything is compiled and allocated.
        spool: Where frames go; what waits in it at the end was timed.
        limit: Frames of a round at most.

    Returns:
        The times of all rounds but the first, and the payloads of one.
    """
    stop, spent, payloads = threading.Event(), Spent(), []
    steady = Steady(SteadySettings())
    for number in range(rounds + 1):
        if number == 1:
            spent = Spent()
            while (one := spool.take()) is not None:
                spool.finish(one.epoch, one.seq)
        source = iter(open_source(frames, stop).frames(_raise))
        for index in range(sys.maxsize if limit is None else limit):
            cpu_s = time.thread_time()
            captured = next(source, None)
            if captured is None:
                break
            spent.cpu["capture"].append((time.thread_time() - cpu_s) * 1e3)
            spent.wall["capture"].append(captured.read_ms)
            with spent.on("letterbox"):
                box, image = model.fit(captured.frame)
            with spent.on("engine"):
                maps = model.engine.run(image, model.rate)
            with spent.on("slice+encode"):
                coded = model.code(steady.hold(maps, model.rate), model.rate)
                key = FrameKey(spool.device, spool.epoch, spool.next_seq)
                message = pack_device_message(
                    FrameFeatures(key, STREAM, index, box, model.rate, coded.payload)
                )
            with spent.on("spool"):
                spool.append(message, stop)
            if number == 0:
                payloads.append(coded.payload)
        spool.sync()
    return spent, payloads


def drain(spool: Spool, bundle_id: str) -> tuple[float, int]:
    """Send all that waits, to a cloud that takes it.

    Returns:
        CPU milliseconds of all of this process, gRPC's threads among them, and frames.
    """
    frames = spool.stats().waiting
    with yes_cloud() as address:
        hello = Hello(DEVICE, spool.epoch, bundle_id, CODEC_VERSION, (STREAM,))
        uplink = Uplink(Endpoint(address), hello, spool, lambda answered: None)
        cpu_s, end_s = time.process_time(), time.monotonic() + DRAIN_S
        uplink.start()
        while uplink.failure is None and spool.stats().left:
            if time.monotonic() > end_s:
                raise RuntimeError(f"{spool.stats().left} frames left: {uplink.stats().reason}")
            time.sleep(0.1)
        cpu_ms = (time.process_time() - cpu_s) * 1e3
        uplink.stop()
    if uplink.failure is not None:
        raise uplink.failure
    return cpu_ms, frames


def measure(
    folder: Path, frames: str, rounds: int, limit: int | None = None, rate: int = 0
) -> dict[str, Any]:
    """All figures of one bundle on some frames; `rate` is that of the times."""
    cv2.setNumThreads(0)  # what its helpers do would be in nobody's time
    model = EdgeModel.load(folder, rate)
    with tempfile.TemporaryDirectory() as home:
        spool = Spool(Path(home), DEVICE)
        try:
            spent, payloads = run_frames(model, frames, rounds, spool, limit)
            if not payloads:
                raise UsageError(f"frames: no picture could be had of {frames}")
            uplink_ms, sent = drain(spool, model.bundle_id)
        finally:
            spool.close()
    cpu = {stage: fmean(times) for stage, times in spent.cpu.items()}
    wall = {stage: median(times) for stage, times in spent.wall.items()}
    cpu["uplink"] = uplink_ms / sent
    outside = sum(cpu[stage] for stage in OUTSIDE)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "bundle": model.bundle_id,
        "rate": rate,
        "frames": len(payloads),
        "rounds": rounds,
        "cpu_ms_mean": cpu,
        "wall_ms_median": wall,
        "outside_over_engine": outside / cpu["engine"],
        "outside_and_capture_over_engine": (outside + cpu["capture"]) / cpu["engine"],
        "codec": [
            coded_bytes(measure_coded(model.tables, some))
            for some in (payloads, *_other_rates(model, frames, limit))
        ],
    }


def coded_bytes(coded: CodedBytes) -> dict[str, Any]:
    """Figures of one rate; bytes are those of a frame."""
    return {
        "rate": coded.rate,
        "payload_bytes": coded.payload_bytes / coded.frames,
        "coded_bytes": coded.coded_bytes / coded.frames,
        "entropy_bytes": coded.entropy_bytes / coded.frames,
        "coded_over_entropy": coded.coded_bytes / coded.entropy_bytes,
        "payload_over_entropy": coded.payload_bytes / coded.entropy_bytes,
    }


def _other_rates(model: EdgeModel, frames: str, limit: int | None) -> Iterator[list[bytes]]:
    """Payloads of the frames at each further rate."""
    for rate in range(model.tables.rates):
        if rate == model.rate:
            continue
        source = open_source(frames, threading.Event()).frames(_raise)
        some = (one.frame for _, one in zip(range(limit or sys.maxsize), source, strict=False))
        images = (model.fit(frame)[1] for frame in some)
        yield [model.code(model.engine.run(image, rate), rate).payload for image in images]


def _raise(error: Exception) -> None:
    raise error


def show(found: dict[str, Any]) -> list[Table]:
    """The figures for people."""
    times = Table("stage", "CPU ms, mean", "wall ms, median", title="one frame on the device")
    for stage in (*STAGES, "uplink"):
        wall = found["wall_ms_median"].get(stage)
        times.add_row(
            stage, f"{found['cpu_ms_mean'][stage]:.2f}", "-" if wall is None else f"{wall:.2f}"
        )
    times.add_section()
    times.add_row("outside / engine", f"{found['outside_over_engine']:.3f}", "asked <= 0.15")
    codec = Table(
        "rate", "payload bytes", "coded", "entropy", "coded / entropy", "payload / entropy"
    )
    for row in sorted(found["codec"], key=lambda row: int(row["rate"])):
        codec.add_row(
            str(row["rate"]),
            *(f"{row[name]:.0f}" for name in ("payload_bytes", "coded_bytes", "entropy_bytes")),
            *(f"{row[name]:.4f}" for name in ("coded_over_entropy", "payload_over_entropy")),
        )
    return [times, codec]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print tables, and write one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="the default one without")
    parser.add_argument("--frames", default="samples/munich", help="as --source of edge run")
    parser.add_argument("--rounds", type=int, default=3, help="how often each frame is run")
    parser.add_argument("--limit", type=int, help="frames at most")
    parser.add_argument("--rate", type=int, default=0, help="quality level that is timed")
    parser.add_argument("--json", type=Path, help="file to write; stdout is for people")
    options = parser.parse_args(arguments)
    found = measure(
        options.bundle or default_bundle(),
        options.frames,
        options.rounds,
        options.limit,
        options.rate,
    )
    console = Console()
    for table in show(found):
        console.print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
