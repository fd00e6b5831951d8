"""The cloud with a real model: what of the replicas' own throughput comes out at the gateway.

    bare      processes that only compute batches         frames/s at batch 8, and one at a time
    served    `sparsight cloud up`, 8 devices, loopback   the same

`served_over_bare` is the gateway with Ray over the replicas alone; `batched_over_single` the cloud
with batches of 8 devices' frames over one frame at a time. Each has `threads` threads a replica, so
that the gateway and the devices have what is left of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from bench.child import child, environment
from bench.client import Tally, device

from sparsight.codec.payload import VERSION
from sparsight.errors import UsageError
from sparsight.pictures import SUFFIXES, read_picture
from sparsight.wire import FrameFeatures, FrameKey, Hello, pack_frame, unpack_frame
from sparsight_cloud.serving.in_process import CAPACITY_BATCHES
from sparsight_cloud.serving.replica import BundleReplica
from sparsight_edge.model import EdgeModel

_BARE = "import sys; from bench.replicas import compute; compute(sys.argv[1:])"
_CLOUD = "from sparsight.cli import main; main()"


@dataclass(frozen=True)
class Load:
    """What is measured.

    Attributes:
        bundle: Folder of the bundle.
        pictures: Folder of what devices see.
        limit: Different frames at most.
        devices: That send them.
        batch: Frames in one forward pass at most.
        replicas: Processes that compute.
        threads: Of each.
        seconds: Of each measurement, roughly.
    """

    bundle: Path
    pictures: Path = Path("samples/munich")
    limit: int = 8
    devices: int = 8
    batch: int = 8
    replicas: int = 1
    threads: int = 1
    seconds: float = 20.0

    def unanswered_max(self, batch: int) -> int:
        """What each device may have under way so that nobody is sent away: its share of the room.

        Args:
            batch: Frames in one forward pass at most.
        """
        return max(1, CAPACITY_BATCHES * batch * self.replicas // (self.devices + 1))


def measure(load: Load) -> dict[str, Any]:
    """All figures; `bare` is measured before and after, since machines drift."""
    frames = coded(load)
    with tempfile.TemporaryDirectory() as folder:
        for i, frame in enumerate(frames):
            (Path(folder) / f"{i:04}.frame").write_bytes(pack_frame(frame))
        bare = [bare_per_s(load, Path(folder), load.batch)]
        served = served_per_s(load, frames, load.batch, bare[0])
        bare.append(bare_per_s(load, Path(folder), load.batch))
        bare_single = bare_per_s(load, Path(folder), 1)
        served_single = served_per_s(load, frames, 1, bare_single)
    mean = sum(bare) / len(bare)
    return {
        "frames": len(frames),
        "payload_bytes_mean": sum(len(frame.payload) for frame in frames) / len(frames),
        "devices": load.devices,
        "replicas": load.replicas,
        "threads": load.threads,
        "batch": load.batch,
        "bare_per_s": bare,
        "bare_single_per_s": bare_single,
        "served_per_s": served,
        "served_single_per_s": served_single,
        "served_over_bare": served / mean,
        "batched_over_single": served / served_single,
        "bare_batched_over_single": mean / bare_single,
    }


def coded(load: Load) -> list[FrameFeatures]:
    """Frames as a device sends them.

    Raises:
        UsageError: There are none.
    """
    model = EdgeModel.load(load.bundle, threads=load.threads)
    files = sorted(file for file in load.pictures.iterdir() if file.suffix in SUFFIXES)
    if not files:
        raise UsageError(f"{load.pictures}: no picture is there; change --pictures")
    frames: list[FrameFeatures] = []
    for seq, file in enumerate(files[: load.limit]):
        box, image = model.fit(read_picture(file))
        payload = model.code(model.engine.run(image, model.rate), model.rate).payload
        frames.append(FrameFeatures(FrameKey("bench", 1, seq), "cam", 0, box, model.rate, payload))
    return frames


def bare_per_s(load: Load, folder: Path, batch: int) -> float:
    """Frames a second that the replicas compute when nobody is in the way."""
    arguments = [str(load.bundle), str(folder), str(batch), str(load.seconds)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _BARE, *arguments],
            stdout=subprocess.PIPE,
            env=environment(load.threads),
            text=True,
        )
        for _ in range(load.replicas)
    ]
    said = [process.communicate()[0] for process in processes]
    return sum(map(float, said))


def compute(arguments: Sequence[str]) -> None:
    """Be a replica that only computes; says how many frames a second."""
    bundle, folder, batch, seconds = arguments
    frames = [unpack_frame(file.read_bytes()) for file in sorted(Path(folder).iterdir())]
    replica = BundleReplica.from_bundles([Path(bundle)])
    n = int(batch)
    batches = [[frames[(i + k) % len(frames)] for k in range(n)] for i in range(len(frames))]
    for some in batches[:2]:
        replica.run(some)
    done, start_s = 0, time.perf_counter()
    while time.perf_counter() - start_s < float(seconds) or done < len(frames):
        replica.run(batches[done // n % len(batches)])
        done += n
    sys.stdout.write(f"{done / (time.perf_counter() - start_s)}\n")


def served_per_s(load: Load, frames: Sequence[FrameFeatures], batch: int, guess: float) -> float:
    """Frames a second that devices get answers to.

    Args:
        load: What is measured.
        frames: What every device sends, over and over.
        batch: Frames in one forward pass at most.
        guess: About what to expect: decides how many are sent.
    """
    each = max(len(frames), int(guess * load.seconds) // load.devices)
    with tempfile.TemporaryDirectory() as out, _cloud(load, Path(out), batch) as address:
        return asyncio.run(_served(load, frames, address, each, batch))


async def _served(
    load: Load, frames: Sequence[FrameFeatures], address: str, each: int, batch: int
) -> float:
    unanswered_max = load.unanswered_max(batch)
    bundle_id = EdgeModel.load(load.bundle).bundle_id
    channels = [grpc.aio.insecure_channel(address) for _ in range(load.devices)]

    async def send(epoch: int, n: int) -> None:
        """Let every device send some, in an epoch of its own: keys are new."""

        def one(i: int, channel: grpc.aio.Channel) -> Any:
            hello = Hello(f"device-{i}", epoch, bundle_id, VERSION, ("cam",))

            def frame(seq: int) -> FrameFeatures:
                key = FrameKey(hello.device, epoch, seq)
                return replace(frames[(seq + i) % len(frames)], key=key)

            return device(channel, hello, n, frame, Tally(), unanswered_max)

        await asyncio.gather(*(one(i, channel) for i, channel in enumerate(channels)))

    await send(1, 4)
    start_s = time.perf_counter()
    await send(2, each)
    rate = each * load.devices / (time.perf_counter() - start_s)
    for channel in channels:
        await channel.close()
    return rate


@contextlib.contextmanager
def _cloud(load: Load, out: Path, batch: int) -> Iterator[str]:
    """`sparsight cloud up` on Ray: its address."""
    options = ["--replicas", str(load.replicas), "--batch", str(batch), "--insecure"]
    options += ["--bundle", str(load.bundle), "--out", str(out), "--listen", "127.0.0.1:0"]
    with child(["-c", _CLOUD, "cloud", "up", *options], load.threads) as ready:
        yield ready.split()[2].rstrip(",")
