"""One training step: samples to a batch, a batch to gradients.

samples ─ heat, kept areas, ignored cells ─> Labels + keep ─ network ─ losses ─ backward
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from sparsight.geometry import CELL_PX
from sparsight.model.network import Network, cell_centres
from sparsight_cloud.training.config import PatchConfig, TrainConfig
from sparsight_cloud.training.labels import draw_heat, random_kept_area, with_masks
from sparsight_cloud.training.losses import Labels, Losses, detector_losses
from sparsight_cloud.training.samples import BOXED, MASKED, Sample


def batch_of(
    samples: list[Sample], patches: PatchConfig, rng: np.random.Generator, device: torch.device
) -> tuple[Float[Tensor, "b 3 s s"], Bool[Tensor, "b c c"], Labels]:
    """Stack samples and make their labels.

    Args:
        samples: Crops of one size.
        patches: How to choose what the deep part may see.
        rng: Source of chance.
        device: Where the tensors go.

    Returns:
        Images in [0, 255], the kept areas, and what is right.
    """
    side = samples[0].image.shape[0] // CELL_PX
    images = np.stack([s.image for s in samples])
    heats, weights, keeps, usables = [], [], [], []
    for s in samples:
        heat, weight = draw_heat(s.xyxy, (side, side))
        if s.shapes is not None:
            bits = s.shapes.reshape(side, CELL_PX, side, CELL_PX)
            cells = np.bitwise_or.reduce(np.bitwise_or.reduce(bits, 3), 1)
            heat = with_masks(heat, (cells & MASKED) > 0, (cells & BOXED) > 0)
        keep = np.ones((side, side), bool)
        if rng.random() < patches.share:
            some = random_kept_area(heat, int(rng.choice(patches.cells)), patches.extra, rng)
            keep = some if some.any() else keep
        ignored = [_inside(s.ignore_xyxy, side >> i, CELL_PX << i) for i in range(3)]
        usable = [keep[:: 1 << i, :: 1 << i] & ~ignored[i] for i in range(3)]
        heats.append(heat)
        weights.append(np.where(ignored[0] & (heat == 0), np.float32(0), weight))
        keeps.append(keep)
        usables.append(np.concatenate([u.reshape(-1) for u in usable]))
    image = (
        torch.from_numpy(images)
        .to(device)
        .permute(0, 3, 1, 2)
        .float()
        .contiguous(memory_format=torch.channels_last)
    )
    labels = Labels(
        xyxy=tuple(torch.from_numpy(s.xyxy).to(device) for s in samples),
        classes=tuple(torch.from_numpy(s.labels).to(device) for s in samples),
        heat=torch.from_numpy(np.stack(heats)).to(device),
        weight=torch.from_numpy(np.stack(weights)).to(device),
        usable=torch.from_numpy(np.stack(usables)).to(device),
    )
    return image, torch.from_numpy(np.stack(keeps)).to(device), labels


def losses_of(
    network: Network,
    image: Float[Tensor, "b 3 s s"],
    keep: Bool[Tensor, "b c c"],
    labels: Labels,
    config: TrainConfig,
) -> Losses:
    """Forward and losses of one batch."""
    heat, logits, distances = network(image, keep)
    centres, strides = cell_centres((keep.shape[1], keep.shape[2]), image.device)
    return detector_losses(heat, logits, distances, centres, strides, labels, config.seeker_loss)


def _inside(
    xyxy: Float32[np.ndarray, "n 4"], side: int, stride: int
) -> Bool[np.ndarray, "side side"]:
    """Cells whose centre lies in a region."""
    centre = (np.arange(side) + 0.5) * stride
    in_x = (xyxy[:, :1] <= centre) & (centre < xyxy[:, 2:3])
    in_y = (xyxy[:, 1:2] <= centre) & (centre < xyxy[:, 3:])
    return np.asarray((in_y[:, :, None] & in_x[:, None, :]).any(0))
