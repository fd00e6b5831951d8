"""The gateway: what it costs alone, and what of its replicas' throughput comes out of it.

    python -m bench.gateway --bundle DIR --json bench/results/gateway.json

`alone` is the cloud as a process of its own with a model that takes no time; devices in this
process send small frames over loopback gRPC, keep to their credit and acknowledge. What is measured
is everything but the model: gRPC, credit, joining, batching, the write to disk. Memory is read from
the kernel as the frames go; `rss_growth` compares the end with the point where a tenth was through.

`model` is the cloud on Ray with a real model: `bench.replicas`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import grpc
import numpy as np
from bench.client import Tally, device
from bench.replicas import Load
from bench.replicas import measure as measure_model

from sparsight.bundle import default_bundle
from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.logs import log_to_stderr
from sparsight.wire import FrameFeatures, FrameKey, Hello
from sparsight_cloud.serving.batching import BatchRule
from sparsight_cloud.serving.commit import CommitRule
from sparsight_cloud.serving.dispatch import Answer, Answered, Serves
from sparsight_cloud.serving.gateway import Door
from sparsight_cloud.serving.in_process import InProcessDispatch
from sparsight_cloud.serving.up import CloudSettings, Ready, serve

BUNDLE = "00" * 32
OBJECTS = 10
BOX = Letterbox.fit((1080, 1920), 1536)


class Constant:
    """A `Replica` that finds the same objects everywhere, at once."""

    serves = Serves({BUNDLE: ("object",)}, frozenset({1}))

    def __init__(self) -> None:
        """Make the objects once."""
        corners = np.linspace(0, 1000, OBJECTS, dtype=np.float32)[:, None].repeat(4, axis=1)
        scores = np.linspace(0.9, 0.3, OBJECTS, dtype=np.float32)
        labels = np.zeros(OBJECTS, np.int64)
        self._answer = Answered(Detections(corners, scores, labels), BUNDLE)

    def run(self, frames: Sequence[FrameFeatures], /) -> Sequence[Answer]:
        """The same answer for each."""
        return [self._answer] * len(frames)


@contextlib.asynccontextmanager
async def gateway(out: Path, fsync: bool) -> AsyncIterator[tuple[int, str]]:
    """The cloud as a process: its id and address."""
    path = os.pathsep.join(p for p in sys.path if p)
    arguments = ["--serve", str(out), *([] if fsync else ["--no-fsync"])]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.gateway", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    try:
        address = (await process.stdout.readline()).decode().strip()
        if not address:
            raise RuntimeError("the gateway did not start")
        yield process.pid, address
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def cpu_s(pid: int) -> float:
    """Time that a process has spent on a core."""
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


async def measure(frames: int, devices: int, payload_bytes: int, fsync: bool) -> dict[str, Any]:
    """One run."""
    tally, each = Tally(), frames // devices
    with tempfile.TemporaryDirectory() as folder:
        async with gateway(Path(folder), fsync) as (pid, address):
            channels = [grpc.aio.insecure_channel(address) for _ in range(devices)]
            payload = os.urandom(payload_bytes)
            start_s, start_cpu_s = time.perf_counter(), cpu_s(pid)
            work = asyncio.gather(
                *(
                    device(channel, _hello(i), each, partial(_frame, i, payload), tally)
                    for i, channel in enumerate(channels)
                )
            )
            rss: list[int] = []
            for tenth in range(1, 11):
                while tally.answered < tenth * each * devices // 10 and not work.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                rss.append(rss_bytes(pid))
            await work
            wall_s, busy_s = time.perf_counter() - start_s, cpu_s(pid) - start_cpu_s
            for channel in channels:
                await channel.close()
    n = tally.answered
    return {
        "frames": n,
        "devices": devices,
        "payload_bytes": payload_bytes,
        "fsync": fsync,
        "frames_per_s": n / wall_s,
        "gateway_cpu_ms_per_frame": busy_s * 1e3 / n,
        "round_trip_ms_p50": median(tally.round_trips_ms),
        "round_trip_ms_p99": quantiles(tally.round_trips_ms, n=100)[-1],
        "overhead_bytes_per_frame_up": tally.bytes_up / n - payload_bytes,
        "bytes_per_frame_down": tally.bytes_down / n,
        "rss_bytes": rss,
        "rss_growth": rss[-1] / rss[0] - 1,
    }


def _hello(i: int) -> Hello:
    return Hello(f"device-{i}", 1, BUNDLE, 1, ("cam",))


def _frame(i: int, payload: bytes, seq: int) -> FrameFeatures:
    return FrameFeatures(FrameKey(f"device-{i}", 1, seq), "cam", seq, BOX, 0, payload)


def serve_here(out: Path, fsync: bool) -> None:
    """Be the cloud."""

    def say(ready: Ready) -> None:
        sys.stdout.write(ready.address + "\n")
        sys.stdout.flush()

    log_to_stderr()
    settings = CloudSettings(Door("127.0.0.1:0", None), out, commit=CommitRule(fsync=fsync))
    serve(settings, lambda ears: InProcessDispatch(Constant(), BatchRule(16, 2.0), ears), say)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON object, and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=20_000, help="of the gateway alone; 0: none")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--payload-bytes", type=int, default=200)
    parser.add_argument("--no-fsync", action="store_true", help="do not wait for the disk")
    parser.add_argument("--bundle", type=Path, help="of the real model; the default one without")
    parser.add_argument("--pictures", type=Path, default=Load.pictures, help="what devices see")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of each replica")
    parser.add_argument("--seconds", type=float, default=20, help="of a measurement; 0: no model")
    parser.add_argument("--json", type=Path, help="file to write too")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    o = parser.parse_args(arguments)
    if o.serve is not None:
        serve_here(o.serve, not o.no_fsync)
        return
    found: dict[str, Any] = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    if o.frames:
        found["alone"] = asyncio.run(measure(o.frames, o.devices, o.payload_bytes, not o.no_fsync))
    if o.seconds:
        found["model"] = measure_model(
            Load(
                o.bundle or default_bundle(),
                o.pictures,
                devices=o.devices,
                replicas=o.replicas,
                threads=o.threads,
                seconds=o.seconds,
            )
        )
    text = json.dumps(found, indent=2) + "\n"
    sys.stdout.write(text)
    if o.json is not None:
        o.json.write_text(text)


if __name__ == "__main__":
    main()
