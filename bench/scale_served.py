"""A cloud of some replicas under real load: how much it takes, and what it adds to a frame.

    coded frames ─> devices, each a stream ─> `bench.scale_cloud`
                       trips │                    │ diaries
                             └──> what was added <┘

What is added to a frame is its trip, without the time that its batch computed and without the time
that it waited because every replica computed: gRPC, credit, batching, Ray, the commit to disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import grpc
import numpy as np
from bench.child import child
from bench.client import Tally, Trip, device
from bench.replicas import Load
from bench.scale_cloud import Batch, read_diaries
from jaxtyping import Float64

from sparsight.codec.payload import VERSION
from sparsight.wire import FrameFeatures, FrameKey, Hello


@dataclass(frozen=True, slots=True)
class Point:
    """One cloud, measured.

    Attributes:
        replicas: Processes that compute.
        batch: Frames in one forward pass at most.
        full_per_s: Frames answered a second when there is always one more.
        offered_per_s: What was offered afterwards, as a Poisson process.
        trips_ms: Of each frame then.
        added_ms: Of each frame then; see above.
        batches: Frames and milliseconds of all that was computed.
    """

    replicas: int
    batch: int
    full_per_s: float
    offered_per_s: float
    trips_ms: Float64[np.ndarray, " frames"]
    added_ms: Float64[np.ndarray, " frames"]
    batches: tuple[tuple[int, float], ...]


def measure(load: Load, frames: Sequence[FrameFeatures], bundle_id: str, share: float) -> Point:
    """Fill a cloud, then offer it some share of what it took.

    Args:
        load: What is measured; `seconds` is the length of the first part, the second is twice it.
        frames: What every device sends, over and over.
        bundle_id: That their payloads name.
        share: Of the throughput, 0 to 1.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        with _cloud(load, out) as address:
            full_per_s, trips = asyncio.run(_drive(load, frames, bundle_id, share, address))
        batches = read_diaries(out)
    return Point(
        load.replicas,
        load.batch,
        full_per_s,
        share * full_per_s,
        np.array([trip.until_s - trip.since_s for trip in trips]) * 1e3,
        added_ms(trips, batches, load.replicas),
        tuple((len(batch.keys), (batch.end_s - batch.begin_s) * 1e3) for batch in batches),
    )


def added_ms(
    trips: Sequence[Trip], batches: Sequence[Batch], replicas: int
) -> Float64[np.ndarray, " frames"]:
    """What is left of each trip without computing and without waiting for busy replicas.

    Args:
        trips: Frames of devices.
        batches: All that the replicas computed meanwhile; a frame's last batch is the one whose
            answer it got.
        replicas: How many there are.
    """
    of = {key: batch for batch in batches for key in batch.keys}
    edges = sorted([(b.begin_s, 1) for b in batches] + [(b.end_s, -1) for b in batches])
    times_s = np.array([second for second, _ in edges])
    all_busy = np.array(list(accumulate(step for _, step in edges)))[:-1] >= replicas
    busy_s = np.concatenate([[0.0], np.cumsum(np.diff(times_s) * all_busy)])
    since_s = np.array([trip.since_s for trip in trips])
    until_s = np.array([trip.until_s for trip in trips])
    begin_s = np.array([of[trip.key].begin_s for trip in trips])
    end_s = np.array([of[trip.key].end_s for trip in trips])
    waited_s = np.interp(begin_s, times_s, busy_s) - np.interp(since_s, times_s, busy_s)
    left_s = (until_s - since_s) - (end_s - begin_s) - waited_s
    return np.asarray(left_s * 1e3, np.float64)


async def _drive(
    load: Load, frames: Sequence[FrameFeatures], bundle_id: str, share: float, address: str
) -> tuple[float, list[Trip]]:
    channels = [grpc.aio.insecure_channel(address) for _ in range(load.devices)]

    async def send(epoch: int, each: int, per_s: float | None = None) -> list[Trip]:
        """Let every device send some, in an epoch of its own: keys are new."""
        tally, chance, now_s = Tally(), random.Random(epoch), time.monotonic()

        def one(i: int, channel: grpc.aio.Channel) -> Coroutine[None, None, None]:
            hello = Hello(f"device-{i}", epoch, bundle_id, VERSION, ("cam",))

            def frame(seq: int) -> FrameFeatures:
                key = FrameKey(hello.device, epoch, seq)
                return replace(frames[(seq + i) % len(frames)], key=key)

            due_s = None
            if per_s is not None:
                gaps_s = (chance.expovariate(per_s / load.devices) for _ in range(each))
                due_s = list(accumulate(gaps_s, initial=now_s))[1:]
            return device(channel, hello, each, frame, tally, most, due_s)

        await asyncio.gather(*(one(i, channel) for i, channel in enumerate(channels)))
        return tally.trips

    most = load.unanswered_max(load.batch)
    # A device's program is no process full of torch: pauses of its collector are not the cloud's.
    gc.collect()
    gc.freeze()
    warm = await send(1, 2 * most)
    guess_per_s = _middle_per_s(warm)
    each = max(2 * most, int(guess_per_s * load.seconds) // load.devices)
    full_per_s = _middle_per_s(await send(2, each))
    per_s = share * full_per_s
    trips = await send(3, max(1, int(per_s * 2 * load.seconds) // load.devices), per_s)
    for channel in channels:
        await channel.close()
    return full_per_s, trips


def _middle_per_s(trips: Sequence[Trip]) -> float:
    """Frames a second without the first and last tenth, in which not all devices are there."""
    until_s = np.sort([trip.until_s for trip in trips])
    edge = len(until_s) // 10
    middle_s = until_s[edge : len(until_s) - edge]
    return float((len(middle_s) - 1) / (middle_s[-1] - middle_s[0]))


@contextlib.contextmanager
def _cloud(load: Load, out: Path) -> Iterator[str]:
    arguments = [str(out), str(load.bundle), str(load.replicas), str(load.batch)]
    with child(["-m", "bench.scale_cloud", *arguments], load.threads) as address:
        yield address.strip()
