"""The stages on Ray Data: shards through two pools of processes, a few of them under way at a time.

    shards ─> [Look, Look, ...] ─ a shard's cells, as one value ─> [Deep, Deep, ...] ─> OUT/rows
                one thread each                                       one thread each

Both pools have as many processes as there are processors, so that whichever stage is behind gets
the machine: Ray Data stops feeding the first when the second can't follow. A shard is one row of
Ray's, which nothing splits or joins. Whoever computes a shard writes it, under a name that depends
on the shard alone, so one that Ray computes twice is there once. What Ray can't save is raised.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sparsight.errors import UsageError
from sparsight.settings import DetectSettings
from sparsight_cloud.batch.items import Shard
from sparsight_cloud.batch.rows import Made, as_parquet, name_of
from sparsight_cloud.batch.store import Store

if TYPE_CHECKING:
    from sparsight_cloud.batch.stages import Deep, Look

LOGICAL_CPUS = 0.5
"""Processors that a process of either pool asks Ray for: one of each pool share one."""

_WAITING = 2  # shards at a process: the one in work and the next, so that it never waits for Ray
_RETRIES = 3  # of a shard whose process died; then it is the shard that kills, and the run ends


@dataclass(frozen=True, slots=True)
class Job:
    """What every process of a run needs to know; its paths hold on every machine.

    Attributes:
        bundle: Folder of the bundle.
        settings: How the detector is run.
        max_pixels: The most pixels a picture may have.
        budget_cells: Kept cells in one pass at most.
        out: Address of the folder of results.
    """

    bundle: Path
    settings: DetectSettings
    max_pixels: int
    budget_cells: int
    out: str


def flow(job: Job, shards: Sequence[Shard], workers: int) -> Iterator[tuple[int, Made]]:
    """Do some shards on the cluster that this process is connected to.

    Args:
        job: What is to be done with them.
        shards: At least one.
        workers: Processes of each pool.

    Yields:
        The number of each shard once it is written, and what it took.

    Raises:
        UsageError: A shard can't be written.
        Exception: Ray's, of what it can't mend: a stage that can't be loaded, or dies again and
            again.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised as well
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    rows = [{"shard": pickle.dumps(shard)} for shard in shards]

    def pool() -> ActorPoolStrategy:
        return ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=_WAITING)

    done: ray.data.Dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    for stage in (LookStage, DeepStage):
        done = done.map_batches(
            stage,
            fn_constructor_args=(job,),
            batch_size=1,
            batch_format="pyarrow",
            compute=pool(),
            num_cpus=LOGICAL_CPUS,
            max_task_retries=_RETRIES,
        )
    for row in done.iter_rows():
        made = pickle.loads(row["made"])
        if isinstance(made, UsageError):
            raise made
        yield made


def cluster_cpus() -> float:
    """Processors of the cluster that this process is connected to."""
    import ray

    return float(ray.cluster_resources().get("CPU", 0.0))


class LookStage:
    """`Look` in a process of Ray's."""

    def __init__(self, job: Job) -> None:
        """Load it."""
        self._look = _looking(job)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Look at a shard's pictures."""
        shard: Shard = pickle.loads(_only(batch, "shard"))
        began_unix_s = time.time()
        looked = list(self._look.run(shard.items))
        return _table(looked=pickle.dumps((shard, began_unix_s, looked)))


class DeepStage:
    """`Deep` in a process of Ray's."""

    def __init__(self, job: Job) -> None:
        """Load it."""
        self._deep = _deepening(job)
        self._store = Store(job.out)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Find a shard's objects and write its rows."""
        shard, began_unix_s, looked = pickle.loads(_only(batch, "looked"))
        rows, passes = self._deep.run(looked)
        made = Made(
            pictures=len(rows),
            failed=sum(row.error is not None for row in rows),
            batches=passes.batches,
            kept_cells=passes.kept_cells,
            computed_cells=passes.computed_cells,
            began_unix_s=began_unix_s,
        )
        data = as_parquet(shard.first, shard.items, rows, self._deep.classes, made)
        try:
            self._store.write(name_of(shard.number), data)
        except UsageError as error:  # as a value: Ray would wrap it in pages of its own
            return _table(made=pickle.dumps(error))
        return _table(made=pickle.dumps((shard.number, made)))


def _looking(job: Job) -> Look:
    from sparsight_cloud.batch.stages import Look

    _one_thread()
    return Look(job.bundle, job.settings, job.max_pixels)


def _deepening(job: Job) -> Deep:
    from sparsight_cloud.batch.stages import Deep

    _one_thread()
    return Deep(job.bundle, job.settings, job.budget_cells)


def _one_thread() -> None:
    """Processes are what shares out the processors."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _only(batch: pa.Table, column: str) -> memoryview:
    return memoryview(batch.column(column)[0].as_buffer())


def _table(**value: bytes) -> pa.Table:
    ((name, data),) = value.items()
    return pa.table({name: pa.array([data], pa.large_binary())})
