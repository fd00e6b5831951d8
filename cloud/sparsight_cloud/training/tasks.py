"""What a run trains: the `Loop` knows steps, clocks and files, a task knows the network.

Loop ─ batch ─> Task.losses ─> total (and what is worth watching)
  └── Task.module: whose state is optimised, averaged and saved
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsight.model.network import Network
from sparsight.settings import ModelSettings
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.pretrained import pretrained_state
from sparsight_cloud.training.schedule import detector_optimiser
from sparsight_cloud.training.step import Batch, losses_of
from sparsight_cloud.training.warm import start_from_bundle


@runtime_checkable
class Task(Protocol):
    """One kind of training.

    Attributes:
        about: What must not change between two starts of a run.
        watched: Names of all the values that `losses` may return.
    """

    about: dict[str, object]
    watched: tuple[str, ...]

    @property
    def module(self) -> nn.Module:
        """What is trained; its state is what a checkpoint holds."""
        ...

    def optimiser(self) -> torch.optim.AdamW:
        """A new optimiser; each group's `base_lr` is its rate before the schedule."""
        ...

    def losses(
        self, batch: Batch, rng: np.random.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """What to minimise, and named values for a person to watch, losses first.

        Args:
            batch: Samples.
            rng: Of this step and process, so that a run that goes on draws what it would have.
        """
        ...


class DetectorTask:
    """A whole detector, from ImageNet weights or from a bundle."""

    watched: tuple[str, ...] = (
        "loss_classes",
        "loss_boxes",
        "loss_seeker",
        "positives_per_box",
        "kept_area",
    )

    def __init__(
        self,
        config: TrainConfig,
        classes: tuple[str, ...],
        first: Iterable[Batch],
        device: torch.device,
        *,
        fresh: bool,
    ) -> None:
        """A network to train.

        Args:
            config: The run.
            classes: Of the data.
            first: Some batches, to set up norms with; drawn from only if the run needs them.
            device: Where to compute.
            fresh: Whether the run begins; if not, a checkpoint brings the weights.
        """
        self.config = config
        net = config.model
        settings = ModelSettings(
            backbone=net.backbone,
            neck_channels=net.neck_channels,
            classes=classes,
            mean=net.mean,
            std=net.std,
        )
        self.network = Network(settings, pretrained_state(net.pretrained, net.backbone))
        if net.start is not None and fresh:
            start_from_bundle(self.network, net.start, first)
        self.network.to(device)
        self.network.stem.freeze_below(net.freeze_below_stride)
        train_mode(self.network)
        if net.learn == "cloud":
            for part in (self.network.stem, self.network.seeker):
                part.eval().requires_grad_(False)
        self.about: dict[str, object] = {"model": settings.model_dump(mode="json")}
        self._mixed = mixed_precision(config.amp, device)

    @property
    def module(self) -> Network:
        """The whole network."""
        return self.network

    def optimiser(self) -> torch.optim.AdamW:
        """AdamW with a lower rate for the backbone."""
        return detector_optimiser(self.network, self.config.optimiser)

    def losses(
        self, batch: Batch, rng: np.random.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Classes, boxes and seeker."""
        losses = losses_of(self.network, batch, self.config, mixed=self._mixed)
        return losses.total, {
            "loss_classes": losses.classes.item(),
            "loss_boxes": losses.boxes.item(),
            "loss_seeker": losses.seeker.item(),
            "positives_per_box": losses.positives_per_box,
            "kept_area": losses.usable,
        }


def mixed_precision(wanted: Literal["auto", "off", "bfloat16"], device: torch.device) -> bool:
    """Whether to compute in bfloat16 where that does no harm."""
    if wanted == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return wanted == "bfloat16"


def train_mode(network: Network) -> None:
    """Set a network to training; the backbone's batch norms stay as pretrained.

    Most are folded away (`sparsight.model.backbone`). Where that was not possible they are still
    there, and statistics of a few crops would ruin them.
    """
    network.train()
    for part in (network.stem, network.trunk):
        for module in part.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.eval()
