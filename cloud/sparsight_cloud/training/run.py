"""A training run: processes, schedule, checkpoints, progress.

    rank 0..n-1   samples of (seed, step, rank) ─ forward, backward ─┐
                                                                     ├─ sum of gradients (gloo) ─ AdamW ─ EMA (rank 0)
    the clock of rank 0 travels with the gradients ──────────────────┘

On a CPU every process has one thread: two threads in one process are up to seven times slower on busy cores (design
training.md §2). The schedule follows the share of the run that is over, by the clock or by steps, so a run ends on time whatever
else the machine does. A run that was killed goes on from its last checkpoint with the samples it would have drawn.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from sparsight.errors import TrainingError
from sparsight.model.network import Network
from sparsight.settings import ModelSettings
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from sparsight_cloud.training.config import OptimiserConfig, TrainConfig
from sparsight_cloud.training.pretrained import pretrained_state
from sparsight_cloud.training.samples import Sampler
from sparsight_cloud.training.step import batch_of, losses_of

METRICS_EVERY = 20


class Watcher(Protocol):
    """Is told how a run goes; the command line draws it."""

    def step(self, share: float, metrics: dict[str, float]) -> None:
        """Now and then: the share of the run that is over, and the latest means."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left.

    Attributes:
        steps: Steps done over all starts.
        elapsed_s: Training time over all starts.
        weights: The averaged network (EMA), under the network's names.
        settings: What the network is made of.
    """

    steps: int
    elapsed_s: float
    weights: dict[str, Tensor]
    settings: ModelSettings


def run_training(
    config: TrainConfig, dataset: Dataset, sampler: Sampler, watcher: Watcher
) -> Outcome:
    """Train, or go on training.

    Args:
        config: The run.
        dataset: What to learn.
        sampler: Draws from the data set; preload it before, processes share what it holds.
        watcher: Is told how it goes.

    Raises:
        TrainingError: The run can't start or go on.
    """
    if dataset.boxes == 0:
        raise TrainingError(
            f"{config.data.annotations}: no boxes to learn from; a seeker must never be trained on silence"
        )
    config.out.mkdir(parents=True, exist_ok=True)
    cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    if config.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device: cuda was asked for, but torch sees no GPU; use auto or cpu")
    ranks = 1 if cuda else config.processes
    with tempfile.TemporaryDirectory(prefix="sparsight-train-") as meeting:
        context = mp.get_context("fork")
        helpers = [
            context.Process(
                target=_worker,
                args=(rank, ranks, meeting, config, dataset, sampler, None),
                daemon=True,
            )
            for rank in range(1, ranks)
        ]
        for p in helpers:
            p.start()
        try:
            return _worker(0, ranks, meeting, config, dataset, sampler, watcher)
        except RuntimeError as e:
            if any(p.exitcode for p in helpers):
                raise TrainingError(
                    "a training process died; start again to go on from the last checkpoint"
                ) from e
            raise
        finally:
            for p in helpers:
                p.join(timeout=10)
                if p.is_alive():
                    p.terminate()


def _worker(
    rank: int,
    ranks: int,
    meeting: str,
    config: TrainConfig,
    dataset: Dataset,
    sampler: Sampler,
    watcher: Watcher | None,
) -> Outcome:
    _keep_freed_memory()
    if ranks > 1:
        torch.set_num_threads(1)
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(
            "gloo", store=dist.FileStore(f"{meeting}/store", ranks), rank=rank, world_size=ranks
        )
    try:
        return _Run(rank, ranks, config, dataset, sampler).go(watcher)
    finally:
        if ranks > 1:
            dist.destroy_process_group()


def _keep_freed_memory() -> None:
    # glibc gives every freed map back to the system and fetches it again: a sixth of a step's time was page faults.
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((-3, 1 << 30), (-1, 1 << 31 - 1), (-2, 1 << 28)):
            libc.mallopt(option, value)
    except OSError:
        pass  # not glibc; nothing is lost but speed


class _Run:
    """One process of a run; owns its network, optimiser and average."""

    def __init__(
        self, rank: int, ranks: int, config: TrainConfig, dataset: Dataset, sampler: Sampler
    ) -> None:
        self.rank, self.ranks, self.config, self.sampler = rank, ranks, config, sampler
        use_cuda = config.device != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if use_cuda else "cpu")
        torch.manual_seed(config.seed)
        net = config.model
        self.settings = ModelSettings(
            backbone=net.backbone,
            neck_channels=net.neck_channels,
            classes=dataset.classes,
            mean=net.mean,
            std=net.std,
        )
        self.network = Network(
            self.settings, pretrained_state(_which(net.pretrained), net.backbone)
        )
        self.network.to(self.device)
        self.network.stem.freeze_below(net.freeze_below_stride)
        self.network.train()
        self.flat, self.clock = _flat_gradients(self.network, self.device)
        self.optimiser = _optimiser(self.network, config.optimiser)
        self.ema = {
            k: v.detach().clone()
            for k, v in self.network.state_dict().items()
            if v.is_floating_point()
        }
        self.about: dict[str, object] = {
            "annotations": config.data.annotations.name,
            "images": len(dataset.images),
            "boxes": dataset.boxes,
            "model": self.settings.model_dump(mode="json"),
            "seed": config.seed,
        }

    def go(self, watcher: Watcher | None) -> Outcome:
        """Train to the end."""
        last = self.config.out / "last.safetensors"
        step, before_s = 0, 0.0
        if last.exists():
            progress = load_checkpoint(last, self.network, self.ema, self.optimiser, self.about)
            step, before_s = progress.step, progress.elapsed_s
        start = saved = time.monotonic()
        elapsed_s = before_s
        sums: dict[str, float] = {}
        count = 0
        try:
            for step in self._steps(step, before_s):
                values = self._step(
                    step, self._share(step, elapsed_s), before_s + time.monotonic() - start
                )
                elapsed_s = float(self.clock[0])
                self._average(step)
                for k, v in values.items():
                    sums[k] = sums.get(k, 0.0) + v
                count += 1
                if self.rank:
                    continue
                if count == METRICS_EVERY and watcher is not None:
                    means = {k: v / count for k, v in sums.items()}
                    self._log(step + 1, elapsed_s, means)
                    watcher.step(self._share(step + 1, elapsed_s), means)
                    sums, count = {}, 0
                if time.monotonic() - saved > self.config.checkpoint_s:
                    self._save(last, step + 1, elapsed_s)
                    saved = time.monotonic()
            step += 1
        except KeyboardInterrupt:
            if self.rank == 0:
                self._save(last, step, elapsed_s)
            raise
        if self.rank == 0:
            self._save(last, step, elapsed_s)
        return Outcome(step, elapsed_s, self.ema, self.settings)

    def _steps(self, first: int, before_s: float) -> Iterator[int]:
        step = first
        self.clock[0] = before_s
        while self._share(step, float(self.clock[0])) < 1.0:
            yield step
            step += 1

    def _share(self, step: int, elapsed_s: float) -> float:
        if self.config.minutes is not None:
            return elapsed_s / (60 * self.config.minutes)
        assert self.config.steps is not None
        return step / self.config.steps

    def _step(self, step: int, share: float, now_s: float) -> dict[str, float]:
        factor = _schedule(self.config.optimiser, step, share)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
        rng = np.random.default_rng([self.config.seed, step, self.rank])
        samples = [self.sampler.draw(rng) for _ in range(self.config.batch // self.ranks)]
        image, keep, labels = batch_of(samples, self.config.patches, rng, self.device)
        self.flat.zero_()
        losses = losses_of(self.network, image, keep, labels, self.config)
        losses.total.backward()  # type: ignore[no-untyped-call]
        self.clock[0] = now_s if self.rank == 0 else 0.0
        if self.ranks > 1:
            dist.all_reduce(self.flat)
            self.flat[:-1] /= self.ranks
        norm = torch.linalg.vector_norm(self.flat[:-1])
        if not torch.isfinite(norm):
            raise TrainingError(
                f"step {step}: the gradient is not finite; lower `lr` and start again from the checkpoint"
            )
        self.flat[:-1] *= (self.config.optimiser.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        self.optimiser.step()
        return {
            "loss_classes": losses.classes.item(),
            "loss_boxes": losses.boxes.item(),
            "loss_seeker": losses.seeker.item(),
            "positives_per_box": losses.positives_per_box,
            "kept_area": float(keep.float().mean()),
            "gradient_norm": float(norm),
            "lr_factor": factor,
        }

    @torch.no_grad()
    def _average(self, step: int) -> None:
        if self.rank:
            return
        weight = 1.0 - min(self.config.optimiser.ema, (1 + step) / (20 + step))
        state = self.network.state_dict()
        torch._foreach_lerp_(list(self.ema.values()), [state[k] for k in self.ema], weight)

    def _save(self, path: Path, step: int, elapsed_s: float) -> None:
        save_checkpoint(
            path, self.network, self.ema, self.optimiser, Progress(step, elapsed_s, self.about)
        )

    def _log(self, step: int, elapsed_s: float, means: dict[str, float]) -> None:
        row = {
            "step": step,
            "elapsed_s": round(elapsed_s, 1),
            **{k: round(v, 5) for k, v in means.items()},
        }
        with (self.config.out / "metrics.jsonl").open("a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")


def _which(pretrained: str | Path) -> str | Path:
    return pretrained if pretrained in ("efficientnet-lite0", "none") else Path(pretrained)


def _flat_gradients(network: Network, device: torch.device) -> tuple[Tensor, Tensor]:
    """All gradients as views of one tensor, whose last value is the clock: one all-reduce a step."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    flat = torch.zeros(sum(p.numel() for p in parameters) + 1, device=device)
    start = 0
    for p in parameters:
        p.grad = flat[start : start + p.numel()].view(p.shape)
        start += p.numel()
    return flat, flat[-1:]


def _optimiser(network: Network, config: OptimiserConfig) -> torch.optim.AdamW:
    backbone = {id(p) for part in (network.stem, network.trunk) for p in part.parameters()}
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for p in network.parameters():
        if p.requires_grad:
            groups.setdefault((id(p) in backbone, p.ndim > 1), []).append(p)
    return torch.optim.AdamW(
        [
            {
                "params": params,
                "base_lr": config.backbone_lr if in_backbone else config.lr,
                "weight_decay": config.weight_decay if matrix else 0.0,
            }
            for (in_backbone, matrix), params in groups.items()
        ],
        lr=config.lr,
        betas=(0.9, 0.99),
    )


def _schedule(config: OptimiserConfig, step: int, share: float) -> float:
    """Factor on the learning rate: warm-up by steps, flat, then a cosine to the final share."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if share <= config.flat_share:
        return warm
    x = min(1.0, (share - config.flat_share) / max(1e-9, 1 - config.flat_share))
    return warm * (
        config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * x))
    )
