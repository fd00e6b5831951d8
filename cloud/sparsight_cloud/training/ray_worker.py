"""One worker of a run on Ray Train: the plain loop, in a folder of its own.

    checkpoint at a URI ─> folder ─ Loop, as in a plain run ─> folder ─> checkpoint at the URI
                                      └── rank 0: moments ─> Desk ─> the driver's board

A worker that begins, for the first time or after another one died, takes the newest checkpoint that
was committed. What was done after it is done again, with the same samples, so nobody can tell.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sparsight.errors import SparsightError
from sparsight_cloud.training.checkpoint import read_checkpoint
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.loop import CHECKPOINT, METRICS, Loop, Moment, Outcome
from sparsight_cloud.training.run import threads
from sparsight_cloud.training.samples import Sampler

if TYPE_CHECKING:
    from ray.train import Checkpoint

FILES = (CHECKPOINT, METRICS)
"""What a checkpoint holds: the losses so far go with the weights, so both end at the same step."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker needs to know; its paths hold on every machine.

    Attributes:
        config: The run.
        dataset: Reference of its `Dataset`.
        start: Reference of the files of a checkpoint that the driver has, by name; may be empty.
        desk: The `Desk`, an actor.
    """

    config: TrainConfig
    dataset: Any
    start: Any
    desk: Any


class Desk:
    """Where rank 0 and the driver leave word for each other; an actor."""

    def __init__(self) -> None:
        self._moments: list[tuple[Moment, bool]] = []
        self._stop = False
        self._end: Outcome | SparsightError | None = None

    def tell(self, moment: Moment, begins: bool) -> bool:
        """Rank 0 says how far the run is; returns whether it should stop."""
        self._moments.append((moment, begins))
        return self._stop

    def listen(self) -> list[tuple[Moment, bool]]:
        """Moments since the driver last asked, and whether the run began with them."""
        told, self._moments = self._moments, []
        return told

    def stop(self) -> None:
        """The driver wants the run to stop."""
        self._stop = True

    def conclude(self, end: Outcome | SparsightError) -> None:
        """How the run ended; the first word counts."""
        self._end = self._end or end

    def end(self) -> Outcome | SparsightError | None:
        """How the run ended; None while it runs."""
        return self._end


class Messenger:
    """A `Watcher` that tells the desk what there is time for: a step never waits for it."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk
        self._answer: Any = None
        self._stop = False

    def begin(self, moment: Moment) -> None:
        """Say where the run begins."""
        import ray

        self._stop = bool(ray.get(self._desk.tell.remote(moment, True)))

    def step(self, moment: Moment) -> None:
        """Say how far it is, unless the last answer isn't there yet."""
        import ray

        if self._answer is not None:
            if not ray.wait([self._answer], timeout=0)[0]:
                return
            self._stop = bool(ray.get(self._answer))
        self._answer = self._desk.tell.remote(moment, False)

    def stopping(self) -> bool:
        """Whether the driver wants the run to stop."""
        return self._stop


def train_loop(given: dict[str, Job]) -> None:
    """What Ray Train runs in every worker.

    Raises:
        PartnerLost: Another worker is gone; Ray Train starts all of them again.
        SparsightError: The run can't go on, and wouldn't the next time.
    """
    import ray

    job = given["job"]
    if ray.get(job.desk.end.remote()) is not None:
        return  # started again after an error that no start mends
    try:
        _work(job)
    except SparsightError as error:
        ray.get(job.desk.conclude.remote(error))
        raise


def _work(job: Job) -> None:
    import ray
    from ray.train import get_checkpoint, get_context
    from ray.train.torch import get_device

    context, device = get_context(), get_device()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    count = 1 if device.type == "cpu" else torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="run-", dir=Path.cwd()) as name, threads(count):
        folder = Path(name)
        _fetch(folder, ray.get(job.start), get_checkpoint())
        config = job.config.model_copy(update={"out": folder})
        # A machine's memory is shared by the workers on it, each of which draws from all pictures.
        room = int(config.cache_gb * 1e9) // context.get_local_world_size()
        sampler = Sampler(ray.get(job.dataset), config.crop, room)
        all(sampler.preload(i) for i in range(len(sampler.dataset.images)))
        loop = Loop(rank, ranks, config, sampler, device)
        if rank:
            loop.go(None, lambda: False, partial(_report, None))
            return
        messenger = Messenger(job.desk)
        outcome = loop.go(messenger, messenger.stopping, partial(_report, folder))
        ray.get(job.desk.conclude.remote(outcome))


def _fetch(folder: Path, start: dict[str, bytes], committed: Checkpoint | None) -> None:
    """Bring the files of the checkpoint that is furthest."""
    for name, data in start.items():
        (folder / name).write_bytes(data)
    if committed is None:
        return
    with committed.as_directory() as there:
        if CHECKPOINT not in start or _steps(Path(there)) >= _steps(folder):
            take_files(Path(there), folder)


def take_files(source: Path, folder: Path) -> None:
    """Copy what a checkpoint holds; each file is whole or not there."""
    for name in FILES:
        if (source / name).exists():
            partial_file = folder / f"{name}.copy"
            shutil.copyfile(source / name, partial_file)
            partial_file.replace(folder / name)


def _steps(folder: Path) -> int:
    return read_checkpoint(folder / CHECKPOINT, "none")[0].step


def _report(folder: Path | None, step: int) -> None:
    """Commit a checkpoint; all workers come here after the same step."""
    from ray.train import Checkpoint, report

    if folder is None:
        report({"step": step})
        return
    with tempfile.TemporaryDirectory(prefix="checkpoint-", dir=folder) as copy:
        for name in FILES:  # not the folder itself: partial files may lie there
            if (folder / name).exists():
                (Path(copy) / name).hardlink_to(folder / name)
        report({"step": step}, checkpoint=Checkpoint.from_directory(copy))
