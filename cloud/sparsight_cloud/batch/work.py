"""The part of a run that computes: a cluster, the shards through it, and someone who watches."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from sparsight.errors import PictureError, SparsightError, UsageError
from sparsight_cloud.batch.items import Shard
from sparsight_cloud.batch.orders import Order
from sparsight_cloud.batch.ray_flow import Gpus, Job, cluster_cpus, cluster_gpus, flow, quiet
from sparsight_cloud.batch.ray_loss import NodeLostError
from sparsight_cloud.batch.rows import Made
from sparsight_cloud.batch.store import Store
from sparsight_cloud.batch.watch import Watch
from sparsight_cloud.serving.ray_cluster import RayCluster


@dataclass(frozen=True, slots=True)
class Wanted:
    """How rows are made.

    Attributes:
        workers: Processes of each pool at most; None takes one for each processor.
        address: HOST:PORT of a Ray cluster's head, or `auto`; None starts one here.
        gpus: What the processes have of GPUs.
        max_errors: The most items that may have an error; None for any number.
        retry_errors: Do shards once more that have items with an error.
    """

    workers: int | None = None
    address: str | None = None
    gpus: Gpus = field(default_factory=Gpus)
    max_errors: int | None = None
    retry_errors: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it went.

    Attributes:
        pictures: Done, errors included.
        seconds: From the opening of the first picture to the last row; the start of processes and
            the loading of models lie before.
        start_s: From the beginning to the opening of the first picture.
        workers: Processes of each pool.
    """

    pictures: int
    seconds: float
    start_s: float
    workers: int

    @property
    def per_s(self) -> float:
        """Pictures a second."""
        return self.pictures / max(self.seconds, 1e-9)


def work(
    todo: Sequence[Shard],
    done: dict[int, Made],
    bundle: Path,
    order: Order,
    store: Store,
    wanted: Wanted,
    people: Console,
) -> Pace:
    """Do some shards.

    Args:
        todo: At least one.
        done: Those that are done already; the others are added as they are written.
        bundle: Folder of the bundle.
        order: What decides the rows.
        store: Where they go.
        wanted: How they are made.
        people: Sees progress.

    Raises:
        UsageError: Ray can't be started, joined, or can't go on.
        PictureError: There were more errors than are allowed.
    """
    failed = sum(made.failed for made in done.values())
    _hold(failed, wanted)
    begin_unix_s = time.time()
    job = Job(
        bundle=bundle,
        classes=order.classes,
        settings=order.settings,
        max_pixels=order.max_pixels,
        budget_cells=order.budget_cells,
        out=store.address,
        codings=order.codings,
    )
    opened_unix_s: list[float] = []
    pictures = sum(len(shard.items) for shard in todo)
    earlier = sum(made.pictures for made in done.values())
    with (
        Watch(people, earlier + pictures, earlier) as watch,
        _cluster(wanted) as cluster,
    ):
        workers = _room(wanted, len(todo))
        try:
            for number, made in _flows(job, todo, wanted, cluster):
                done[number] = made
                opened_unix_s.append(made.began_unix_s)
                failed += made.failed
                watch.saw(made, failed)
                _hold(failed, wanted)
        except SparsightError:
            raise
        except Exception as error:  # Ray's own, and what it carries of the stages
            raise UsageError(
                f"the run can't go on: {_cause(error)}; what is done stays in {store.uri}, and the "
                "same command goes on from there"
            ) from error
        end_unix_s = time.time()
    first_unix_s = min(opened_unix_s, default=end_unix_s)
    return Pace(pictures, end_unix_s - first_unix_s, first_unix_s - begin_unix_s, workers)


def _flows(
    job: Job, todo: Sequence[Shard], wanted: Wanted, cluster: RayCluster
) -> Iterator[tuple[int, Made]]:
    """One flow, and after the loss of a node another, over what is left and with what is left."""
    left = {shard.number: shard for shard in todo}
    while left:
        shards = list(left.values())
        try:
            for number, made in flow(job, shards, _room(wanted, len(shards)), wanted.gpus):
                del left[number]
                yield number, made
        except NodeLostError:
            pass
        else:
            return
        # Its processes end with the connection; else those that are left keep their processors.
        cluster.disconnect()
        with quiet():
            cluster.connect()


@contextmanager
def _cluster(wanted: Wanted) -> Iterator[RayCluster]:
    """A cluster to work on."""
    # One processor more than the pools ask for: Ray's own small tasks must never wait for them.
    cluster = RayCluster(wanted.address, cpus=_here(wanted) + 1, with_serve=False)
    try:
        with quiet():
            cluster.connect()
        yield cluster
    finally:
        cluster.disconnect()


def _here(wanted: Wanted) -> int:
    """Processes of each pool in a cluster of our own."""
    return wanted.workers or len(os.sched_getaffinity(0))


def _room(wanted: Wanted, shards: int) -> int:
    """Processes of each pool that fit and have work: if the first took all, others never start."""
    cpus = int(cluster_cpus())
    if cpus < 1:
        raise UsageError(f"the cluster has {cpus} processors, expected at least one")
    most = wanted.workers if wanted.address else _here(wanted)
    fit, gpus = min(most or cpus, cpus, shards), wanted.gpus
    if not gpus.of_a_set:
        return fit
    sets = int(cluster_gpus() / gpus.of_a_set + 1e-6)
    if sets < 1:
        raise UsageError(
            f"--look-gpus and --deep-gpus ask for {gpus.of_a_set:g} GPUs, the cluster has "
            f"{cluster_gpus():g}; give smaller shares, or leave them out"
        )
    return min(fit, sets)


def _hold(failed: int, wanted: Wanted) -> None:
    """End a run that goes wrong.

    Raises:
        PictureError: It has more errors than are allowed.
    """
    if wanted.max_errors is not None and failed > wanted.max_errors:
        raise PictureError(
            f"{failed} pictures can't be read, more than --max-errors {wanted.max_errors}; column "
            "`error` of the rows says why. Allow more, or try them again with --retry-errors where "
            "the files are good"
        )


def _cause(error: Exception) -> str:
    """The last line of what Ray says: that of the stage's own error, below its traceback."""
    lines = str(error).strip().splitlines()
    return (lines[-1].strip() if lines else type(error).__name__)[:500]
