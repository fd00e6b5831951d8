"""The steps of one training process.

    samples of (seed, step, rank) ─ forward, backward ─> gradients | clock | stop?
                                                              │ summed over the processes (gloo)
    next step <─ EMA (rank 0) <─ AdamW <─ clipped <───────────┘

The clock of rank 0 and its wish to stop travel with the gradients, so all processes see the same
time and end after the same step. The schedule follows the share of the run that is over, by the
clock or by steps: by the clock, a run ends on time whatever else the machine does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.distributed as dist

from sparsight.errors import TrainingError
from sparsight_cloud.training.bottleneck import BottleneckTask
from sparsight_cloud.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.joint import JointTask
from sparsight_cloud.training.metrics import (
    EVERY_STEPS,
    Means,
    append_metrics,
    drop_metrics_after,
)
from sparsight_cloud.training.samples import Sampler
from sparsight_cloud.training.schedule import flat_gradients, learning_rate_factor
from sparsight_cloud.training.step import Batch, batch_of
from sparsight_cloud.training.tasks import DetectorTask, Task

CHECKPOINT, METRICS = "last.safetensors", "metrics.jsonl"
START_BATCHES = 16


class PartnerLost(Exception):
    """Another process of the run is gone."""


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
        """Once; a moment with steps done is a run that goes on from its checkpoint."""
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
        gradients: All gradients in one piece.
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
        """
        self.rank, self.ranks, self.config, self.sampler = rank, ranks, config, sampler
        self.device = device
        torch.manual_seed(config.seed)
        self.task = self._task()
        self._whole = flat_gradients(self.task.module, 2, device)
        self.gradients, self._told = self._whole[:-2], self._whole[-2:]
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
            samples = [self.sampler.draw(rng) for _ in range(self.config.batch // self.ranks)]
            yield batch_of(samples, self.config.patches, rng, torch.device("cpu"))

    def go(self, watcher: Watcher | None, stopping: Callable[[], bool]) -> Outcome:
        """Train to the end, or until asked to stop; rank 0 leaves a checkpoint.

        Args:
            watcher: Is told how it goes; None but for rank 0.
            stopping: Whether to stop after the step; only rank 0 is asked.

        Raises:
            TrainingError: The checkpoint is of another run, or the gradient is not finite.
            PartnerLost: Another process is gone.
        """
        last, metrics = self.config.out / CHECKPOINT, self.config.out / METRICS
        done, before_s = 0, 0.0
        if last.exists():
            progress = load_checkpoint(
                last, self.task.module, self.ema, self._optimiser, self._about
            )
            done, before_s = progress.step, progress.elapsed_s
        if self.rank == 0:
            drop_metrics_after(metrics, done)
        elapsed_s, latest, means = before_s, dict[str, float](), Means()
        if watcher is not None:
            watcher.begin(Moment(done, self._share(done, elapsed_s), elapsed_s, latest))
        start = saved = time.monotonic()
        stopped = False
        while self._share(done, elapsed_s) < 1.0 and not stopped:
            factor = learning_rate_factor(self.config.optimiser, done, self._share(done, elapsed_s))
            now_s = before_s + time.monotonic() - start
            means.add(self._step(done, factor, now_s, stopping()))
            elapsed_s, stopped = float(self._told[0]), bool(self._told[1])
            done += 1
            if self.rank:
                continue
            self._average(done)
            if done % EVERY_STEPS == 0:
                latest = means.take()
                append_metrics(metrics, done, elapsed_s, latest)
            if watcher is not None:
                share = min(1.0, self._share(done, elapsed_s))
                watcher.step(Moment(done, share, elapsed_s, latest))
            if time.monotonic() - saved > self.config.checkpoint_s:
                self._save(last, done, elapsed_s)
                saved = time.monotonic()
        if self.rank == 0:
            self._save(last, done, elapsed_s)
        return Outcome(done, elapsed_s, self._share(done, elapsed_s) >= 1.0)

    def backward(self, step: int) -> dict[str, float]:
        """The gradients of this process's samples of a step, and what is worth watching."""
        rng = np.random.default_rng([self.config.seed, step, self.rank])
        samples = [self.sampler.draw(rng) for _ in range(self.config.batch // self.ranks)]
        batch = batch_of(samples, self.config.patches, rng, self.device)
        self.gradients.zero_()
        total, values = self.task.losses(batch, rng)
        total.backward()
        return values

    def reduce(self, now_s: float, stop: bool) -> None:
        """Average the gradients over the processes; rank 0's time and wish to stop go to all."""
        first = self.rank == 0
        self._told[0], self._told[1] = now_s if first else 0.0, float(stop and first)
        if self.ranks == 1:
            return
        try:
            dist.all_reduce(self._whole)
        except RuntimeError as e:
            raise PartnerLost(str(e)) from e
        self.gradients /= self.ranks

    def _step(self, step: int, factor: float, now_s: float, stop: bool) -> dict[str, float]:
        values = self.backward(step)
        self.reduce(now_s, stop)
        norm = torch.linalg.vector_norm(self.gradients)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"step {step}: the gradient is not finite; lower `optimiser.lr` (now "
                f"{self.config.optimiser.lr:g}) and start again to go on from the last checkpoint"
            )
        self.gradients *= (self.config.optimiser.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for group in self._optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
        self._optimiser.step()
        return {**values, "gradient_norm": float(norm), "lr_factor": factor}

    @torch.no_grad()
    def _average(self, done: int) -> None:
        # The ramp lets the average follow quickly while there is little to average.
        weight = 1.0 - min(self.config.optimiser.ema, done / (19 + done))
        state = self.task.module.state_dict()
        torch._foreach_lerp_(list(self.ema.values()), [state[k] for k in self.ema], weight)

    def _save(self, path: Path, done: int, elapsed_s: float) -> None:
        progress = Progress(done, elapsed_s, self._about)
        save_checkpoint(path, self.task.module, self.ema, self._optimiser, progress)

    def _share(self, done: int, elapsed_s: float) -> float:
        if self.config.minutes is not None:
            return elapsed_s / (60 * self.config.minutes)
        assert self.config.steps is not None
        return done / self.config.steps
