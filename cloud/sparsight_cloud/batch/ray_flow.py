"""The parts on Ray Data: shards through pools of processes, a few of them under way at a time.

    shards ─> [read, look, deep], [read, look, deep], ... ─> OUT/rows      on processors alone

    shards ─> [read], ... ─ 4 MB a picture ─> [look], ... ─ 1 MB ─> [deep], ... ─> OUT/rows
              processors                      part of a GPU         part of a GPU

    records ─> [recall, deep], ... ─> OUT/rows                             payloads, no pictures

A part that has no GPU shares its processes with its neighbour: on processors alone nothing is
gained by handing maps from one process to another. Each process computes in one thread. Between
pools, Ray Data feeds the first no faster than the last can follow. A shard is one row of Ray's,
which nothing splits or joins. Whoever computes a shard writes it, under a name that depends on the
shard alone, so one that Ray computes twice is there once. What Ray can't save is raised.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sparsight.errors import SparsightError, UsageError
from sparsight.settings import DetectSettings
from sparsight_cloud.batch.items import Shard
from sparsight_cloud.batch.ray_loss import NodeLostError, Progress, callback_of
from sparsight_cloud.batch.rows import Made, Row, as_parquet, name_of
from sparsight_cloud.batch.store import Store

if TYPE_CHECKING:  # torch comes with it, and who drives Ray does without
    from sparsight_cloud.batch.reading import Read
    from sparsight_cloud.batch.recorded import Recall
    from sparsight_cloud.batch.stages import Deep, Look, Passes

READ, LOOK, RECALL, DEEP = "read", "look", "recall", "deep"

_COLUMN = "value"
_STDERR = 2
_WAITING = 2  # shards at a process: the one in work and the next, so that it never waits for Ray
_RETRIES = 3  # of a shard whose process died; then it is the shard that kills, and the run ends


@dataclass(frozen=True, slots=True)
class Job:
    """What every process of a run needs to know; its paths hold on every machine.

    Attributes:
        bundle: Folder of the bundle.
        classes: Names of its labels.
        settings: How the detector is run.
        max_pixels: The most pixels a picture may have.
        budget_cells: Kept cells in one pass at most.
        out: Address of the folder of results.
        codings: Whose recorded payloads come instead of pictures; empty for pictures.
    """

    bundle: Path
    classes: tuple[str, ...]
    settings: DetectSettings
    max_pixels: int
    budget_cells: int
    out: str
    codings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gpus:
    """Which share of a GPU a process has; none without.

    Attributes:
        look: One that runs the stem.
        deep: One that runs trunk and head.
    """

    look: float = 0.0
    deep: float = 0.0

    @property
    def of_a_set(self) -> float:
        """What one process of each takes."""
        return self.look + self.deep


@dataclass(frozen=True, slots=True)
class Pool:
    """Processes that do the same.

    Attributes:
        parts: One after the other.
        gpus: Share of a GPU that each has.
    """

    parts: tuple[str, ...]
    gpus: float


def pools_of(gpus: Gpus, *, recorded: bool = False) -> list[Pool]:
    """Pools in the order in which shards go through them.

    Args:
        gpus: What their processes have of GPUs.
        recorded: Payloads come instead of pictures.
    """
    early = [(RECALL, gpus.look)] if recorded else [(READ, 0.0), (LOOK, gpus.look)]
    pools: list[Pool] = []
    for part, share in (*early, (DEEP, gpus.deep)):
        if not pools or share or pools[-1].gpus:
            pools.append(Pool((part,), share))
        else:
            pools[-1] = Pool((*pools[-1].parts, part), 0.0)
    return pools


def flow(job: Job, shards: Sequence[Shard], workers: int, gpus: Gpus) -> Iterator[tuple[int, Made]]:
    """Do some shards on the cluster that this process is connected to.

    Args:
        job: What is to be done with them.
        shards: At least one.
        workers: Processes of each pool.
        gpus: What they have of GPUs.

    Yields:
        The number of each shard once it is written, and what it took.

    Raises:
        UsageError: A shard can't be written, or nothing is done for long.
        NodeLostError: The cluster lost a node, and what was there waits for it.
        Exception: Ray's, of what it can't mend: a part that can't be loaded, or dies again and
            again.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised as well
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # it knows neither nodes nor how large shards are
    progress = Progress(max(len(shard.items) for shard in shards))
    context.custom_execution_callback_classes = [callback_of(progress)]
    rows = [{_COLUMN: pickle.dumps((shard, None, shard.items))} for shard in shards]
    done: ray.data.Dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    pools = pools_of(gpus, recorded=bool(job.codings))
    for pool in pools:
        done = done.map_batches(
            PoolProcess,
            fn_constructor_args=(job, pool),
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=_WAITING),
            num_cpus=1 / len(pools),  # one of each pool share a processor
            num_gpus=pool.gpus or None,
            max_task_retries=_RETRIES,
        )
    try:
        for row in done.iter_rows():
            made = pickle.loads(row[_COLUMN])
            if isinstance(made, UsageError):
                raise made
            progress.came(time.time() - made[1].began_unix_s)
            yield made
    except (SparsightError, NodeLostError):
        raise
    except Exception as error:  # Ray's own; some are but what a lost node leaves behind
        if progress.node_is_lost():
            raise NodeLostError from error
        raise


def cluster_cpus() -> float:
    """Processors of the cluster that this process is connected to."""
    import ray

    return float(ray.cluster_resources().get("CPU", 0.0))


def cluster_gpus() -> float:
    """Its GPUs."""
    import ray

    return float(ray.cluster_resources().get("GPU", 0.0))


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what C++ writes to stderr, such as Ray while it starts; Python's errors are raised."""
    sys.stderr.flush()
    before = os.dup(_STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, _STDERR)
        yield
    finally:
        os.dup2(before, _STDERR)
        os.close(before)
        os.close(nowhere)


class PoolProcess:
    """What one of Ray's processes does with shards."""

    def __init__(self, job: Job, pool: Pool) -> None:
        """Load what its parts need."""
        _one_thread()
        self._job = job
        self._parts = [_loaded(part, job, pool.gpus > 0) for part in pool.parts]
        self._writes = pool.parts[-1] == DEEP
        self._store = Store(job.out)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Do its parts of a shard; behind the last of all parts, write its rows."""
        shard, began_unix_s, value = pickle.loads(_only(batch))
        began_unix_s = began_unix_s or time.time()
        for part in self._parts:
            value = part.run(value)
        if self._writes:
            return _row(self._written(shard, began_unix_s, *value))
        return _row((shard, began_unix_s, list(value)))

    def _written(
        self, shard: Shard, began_unix_s: float, rows: Sequence[Row], passes: Passes
    ) -> tuple[int, Made] | UsageError:
        made = Made(
            pictures=len(rows),
            failed=sum(row.error is not None for row in rows),
            batches=passes.batches,
            kept_cells=passes.kept_cells,
            computed_cells=passes.computed_cells,
            began_unix_s=began_unix_s,
        )
        data = as_parquet(shard.first, shard.items, rows, self._job.classes, made)
        try:
            self._store.write(name_of(shard.number), data)
        except UsageError as error:  # as a value: Ray would wrap it in pages of its own
            return error
        return shard.number, made


def _loaded(part: str, job: Job, on_gpu: bool) -> Read | Look | Recall | Deep:
    from sparsight_cloud.batch.reading import Read
    from sparsight_cloud.batch.recorded import Recall
    from sparsight_cloud.batch.stages import Deep, Look

    device = "cuda" if on_gpu else "cpu"
    if part == READ:
        return Read(job.settings.long_side_px, job.max_pixels)
    if part == LOOK:
        return Look(job.bundle, job.settings, device)
    if part == RECALL:
        return Recall(job.bundle, job.codings, device)
    return Deep(job.bundle, job.settings, job.budget_cells, device)


def _one_thread() -> None:
    """Processes are what shares out the processors."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _only(batch: pa.Table) -> memoryview:
    return memoryview(batch.column(_COLUMN)[0].as_buffer())


def _row(value: object) -> pa.Table:
    return pa.table({_COLUMN: pa.array([pickle.dumps(value)], pa.large_binary())})
