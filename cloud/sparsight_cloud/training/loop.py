"""The steps of one training process.

    samples of (seed, step, slice) ─ forward, backward ─> gradients | clock | stop? | save?
       └── the next slice of this process                   │ mean over all slices (`exchange`)
    next step <─ EMA (rank 0) <─ AdamW <─ clipped <─────────┘

The clock of rank 0 and its wishes to stop and to save travel with the gradients, so all processes
see the same time, and save and end after the same step. The schedule follows the share of the run
that is over, by the clock or by steps: by the clock, a run ends on time whatever else the machine
does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from sparsight.errors import TrainingError
from sparsight_cloud.training.bottleneck import BottleneckTask
from sparsight_cloud.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.exchange import Exchange, Word
from sparsight_cloud.training.joint import JointTask
from sparsight_cloud.training.metrics import (
    EVERY_STEPS,
    Means,
    append_metrics,
    drop_metrics_after,
)
from sparsight_cloud.training.samples import Sampler
from sparsight_cloud.training.schedule import learning_rate_factor
from sparsight_cloud.training.step import Batch, batch_of
from sparsight_cloud.training.tasks import DetectorTask, Task

CHECKPOINT, METRICS = "last.safetensors", "metrics.jsonl"
START_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a run is.

    Attributes:
        step: Steps done, over all starts of the run.
        share: Share of the run that is over, from 0 to 1.
        elapsed_s: Training time, over all starts of the run.
        means: Means of losses and the like over some of the latest steps; empty at first.
    """

    step: int
    share: float
    elapsed_s: float
    means: dict[str, float]


@runtime_checkable
class Watcher(Protocol):
    """Is told how a run goes; the command line draws it."""

    def begin(self, moment: Moment) -> None:
        """Once a start; a moment with steps done is a run that goes on from its checkpoint."""
        ...

    def step(self, moment: Moment) -> None:
        """After each step."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left in its folder.

    Attributes:
        steps: Steps done over all starts.
        elapsed_s: Training time over all starts.
        finished: Whether the run came to its end; if not, it was asked to stop.
    """

    steps: int
    elapsed_s: float
    finished: bool


class Loop:
    """One process of a run; owns its network, optimiser and average.

    Attributes:
        task: What is trained.
        ema: Averages of its module's floating-point state, by name.
        exchange: The gradients, and what travels with them.
    """

    def __init__(
        self, rank: int, ranks: int, config: TrainConfig, sampler: Sampler, device: torch.device
    ) -> None:
        """Builds the task and its optimiser.

        Args:
            rank: Which process this is; 0 keeps the clock and the files.
            ranks: How many there are; with more than one, a process group must be open.
            config: The run.
            sampler: Draws samples.
            device: Where to compute.

        Raises:
            TrainingError: The processes can't share the slices.
        """
        self.rank, self.ranks, self.config, self.sampler = rank, ranks, config, sampler
        self.device = device
        self.slices = config.slices or ranks
        if self.slices % ranks:
            raise TrainingError(
                f"slices: expected a multiple of the {ranks} processes, got {self.slices}"
            )
        torch.manual_seed(config.seed)
        self.task = self._task()
        watched = self.task.watched
        self.exchange = Exchange(self.task.module, watched, ranks, self.slices, device)
        self._optimiser = self.task.optimiser()
        state = self.task.module.state_dict()
        self.ema = {k: v.detach().clone() for k, v in state.items() if v.is_floating_point()}
        self._about: dict[str, object] = {
            "annotations": config.data.annotations.name,
            "images": len(sampler.dataset.images),
            "boxes": sampler.dataset.boxes,
            "seed": config.seed,
            **self.task.about,
        }

    def _task(self) -> Task:
        """What this run trains."""
        first, fresh = self._first_batches(), not (self.config.out / CHECKPOINT).exists()
        kinds: dict[str, type[DetectorTask | BottleneckTask | JointTask]] = {
            "detector": DetectorTask,
            "bottleneck": BottleneckTask,
            "joint": JointTask,
        }
        kind = kinds[self.config.stage]
        return kind(self.config, self.sampler.dataset.classes, first, self.device, fresh=fresh)

    def _first_batches(self) -> Iterator[Batch]:
        """Samples to set up norms with, the same in every process."""
        rng = np.random.default_rng(self.config.seed)
        for _ in range(START_BATCHES):
            yield self._slice(rng, torch.device("cpu"))

    def _slice(self, rng: np.random.Generator, device: torch.device) -> Batch:
        samples = [self.sampler.draw(rng) for _ in range(self.config.batch // self.slices)]
        return batch_of(samples, self.config.patches, rng, device)

    def go(
        self,
        watcher: Watcher | None,
        stopping: Callable[[], bool],
        saved: Callable[[int], None] = lambda step: None,
    ) -> Outcome:
        """Train to the end, or until asked to stop; rank 0 leaves a checkpoint.

        Args:
            watcher: Is told how it goes; None but for rank 0.
            stopping: Whether to stop after the step; only rank 0 is asked.
            saved: Called in every process after the same step, when rank 0 has saved it.

        Raises:
            TrainingError: The checkpoint is of another run, or the gradient is not finite.
            PartnerLost: Another process is gone.
        """
        last, metrics = self.config.out / CHECKPOINT, self.config.out / METRICS
        done, before_s, means = 0, 0.0, Means()
        if last.exists():
            progress = load_checkpoint(
                last, self.task.module, self.ema, self._optimiser, self._about
            )
            done, before_s, means = progress.step, progress.elapsed_s, Means(progress.sums)
        if self.rank == 0:
            drop_metrics_after(metrics, done)
        elapsed_s, latest = before_s, dict[str, float]()
        if watcher is not None:
            watcher.begin(Moment(done, self._share(done, elapsed_s), elapsed_s, latest))
        start = kept = time.monotonic()
        stopped = False
        while self._share(done, elapsed_s) < 1.0 and not stopped:
            factor = learning_rate_factor(self.config.optimiser, done, self._share(done, elapsed_s))
            now = time.monotonic()
            due = now - kept > self.config.checkpoint_s
            values, word = self._step(done, factor, Word(before_s + now - start, stopping(), due))
            elapsed_s, stopped = word.now_s, word.stop
            done += 1
            if self.rank == 0:
                self._average(done)
                means.add(values)
                if done % EVERY_STEPS == 0:
                    latest = means.take()
                    append_metrics(metrics, done, elapsed_s, latest)
            if watcher is not None:
                share = min(1.0, self._share(done, elapsed_s))
                watcher.step(Moment(done, share, elapsed_s, latest))
            if word.save:
                self._save(last, Progress(done, elapsed_s, self._about, means.sums))
                saved(done)
                kept = time.monotonic()
        self._save(last, Progress(done, elapsed_s, self._about, means.sums))
        saved(done)
        return Outcome(done, elapsed_s, self._share(done, elapsed_s) >= 1.0)

    def backward(self, step: int) -> None:
        """The gradients of this process's slices of a step, summed."""
        self.exchange.begin()
        for part in range(self.rank, self.slices, self.ranks):
            rng = np.random.default_rng([self.config.seed, step, part])
            total, values = self.task.losses(self._slice(rng, self.device), rng)
            total.backward()
            self.exchange.add(values)

    def _step(self, step: int, factor: float, word: Word) -> tuple[dict[str, float], Word]:
        self.backward(step)
        values, word = self.exchange.reduce(word if self.rank == 0 else None)
        gradients = self.exchange.gradients
        norm = torch.linalg.vector_norm(gradients)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"step {step}: the gradient is not finite; lower `optimiser.lr` (now "
                f"{self.config.optimiser.lr:g}) and start again to go on from the last checkpoint"
            )
        gradients *= (self.config.optimiser.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for group in self._optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
        self._optimiser.step()
        return {**values, "gradient_norm": float(norm), "lr_factor": factor}, word

    @torch.no_grad()
    def _average(self, done: int) -> None:
        # The ramp lets the average follow quickly while there is little to average.
        weight = 1.0 - min(self.config.optimiser.ema, done / (19 + done))
        state = self.task.module.state_dict()
        torch._foreach_lerp_(list(self.ema.values()), [state[k] for k in self.ema], weight)

    def _save(self, path: Path, progress: Progress) -> None:
        if self.rank == 0:
            save_checkpoint(path, self.task.module, self.ema, self._optimiser, progress)

    def _share(self, done: int, elapsed_s: float) -> float:
        if self.config.minutes is not None:
            return elapsed_s / (60 * self.config.minutes)
        assert self.config.steps is not None
        return done / self.config.steps
