"""The cloud on Ray as a process whose replicas keep a diary, for `bench.scale`.

    python -m bench.scale_cloud OUT BUNDLE REPLICAS BATCH

    RayServeDispatch ─> replica's process: BundleReplica ─ a line a batch ─> OUT/diary/PID

A line of a diary is a JSON list: begin and end by `time.monotonic`, which all processes of a
machine share, and the frames' devices, epochs and numbers.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sparsight.logs import log_to_stderr
from sparsight.wire import FrameFeatures, FrameKey
from sparsight_cloud.serving.batching import BatchRule
from sparsight_cloud.serving.commit import CommitRule
from sparsight_cloud.serving.dispatch import Answer, Serves
from sparsight_cloud.serving.gateway import Door
from sparsight_cloud.serving.ray_app import RayApp
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.serving.ray_replica import Model
from sparsight_cloud.serving.ray_serve import RayServeDispatch
from sparsight_cloud.serving.replica import BundleReplica
from sparsight_cloud.serving.replicas import Replicas
from sparsight_cloud.serving.up import CloudSettings, Ready, serve


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as a replica saw it."""

    begin_s: float
    end_s: float
    keys: tuple[FrameKey, ...]


class Diarist:
    """A `Replica` that notes what it computes, and when."""

    def __init__(self, bundle: Path, diary: Path) -> None:
        """Load the bundle and open the diary."""
        self._replica = BundleReplica.from_bundles([bundle])
        self._diary = (diary / str(os.getpid())).open("a")

    @property
    def serves(self) -> Serves:
        """As the bundle's replica."""
        return self._replica.serves

    def run(self, frames: Sequence[FrameFeatures], /) -> Sequence[Answer]:
        """Compute, and note it."""
        begin_s = time.monotonic()
        answers = self._replica.run(frames)
        keys = [(frame.key.device, frame.key.epoch, frame.key.seq) for frame in frames]
        self._diary.write(json.dumps([begin_s, time.monotonic(), keys]) + "\n")
        self._diary.flush()
        return answers


def read_diaries(out: Path) -> list[Batch]:
    """All batches of all replicas, in the order in which they began."""
    batches = [
        Batch(begin_s, end_s, tuple(FrameKey(*key) for key in keys))
        for file in (out / "diary").iterdir()
        for begin_s, end_s, keys in map(json.loads, file.read_text().splitlines())
    ]
    return sorted(batches, key=lambda batch: batch.begin_s)


def main(arguments: Sequence[str]) -> None:
    """Be the cloud until told to end; says its address once it listens."""
    out, bundle = Path(arguments[0]), Path(arguments[1]).resolve()
    replicas, batch = map(int, arguments[2:])
    (out / "diary").mkdir()
    model = Model(
        partial(Diarist, bundle, (out / "diary").resolve()), Model.of_bundles([bundle]).serves
    )

    def say(ready: Ready) -> None:
        sys.stdout.write(ready.address + "\n")
        sys.stdout.flush()

    log_to_stderr()
    settings = CloudSettings(Door("127.0.0.1:0", None), out / "results", commit=CommitRule())
    app = RayApp("bench", model, Replicas(replicas))
    cluster = RayCluster(None, replicas)
    serve(settings, lambda ears: RayServeDispatch(app, cluster, BatchRule(batch), ears), say)


if __name__ == "__main__":
    # Under the name that the replicas import it by: `__main__` is somebody else there.
    from bench.scale_cloud import main as run

    run(sys.argv[1:])
