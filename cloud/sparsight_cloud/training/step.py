"""One training step: samples to a batch, a batch to gradients.

samples ─> Batch ─ stem, seeker ─> heat ─ slicer ─> keep ─ trunk, neck, head ─ losses ─ backward
             └── labels; areas cut from the labels ──┘

Most samples are cut by the slicer from the seeker's own heat, as they will be in use: the deep part
learns what it will see, the seeker's misses and false heat included. The seeker has no gradient
through that choice. Until it is warm it finds nothing, and such a sample is seen whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from sparsight.geometry import CELL_PX
from sparsight.model.network import Network, cell_centres
from sparsight.model.sparse import LEVELS
from sparsight.slicer import SlicerSettings, slice_heat
from sparsight_cloud.training.config import PatchConfig, TrainConfig
from sparsight_cloud.training.labels import draw_heat, random_kept_area, with_masks
from sparsight_cloud.training.losses import Labels, Losses, detector_losses
from sparsight_cloud.training.samples import BOXED, MASKED, Sample

MIN_GAINS = (0.35, 0.9)
"""The slicer's least gain, drawn for each sample."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples as tensors.

    Attributes:
        image: RGB in [0, 255].
        keep: What the deep part may see; all of the samples that the seeker is to cut.
        cuts: How to cut each sample by the seeker's heat; None where `keep` stands.
        labels: What is right.
    """

    image: Float[Tensor, "b 3 s s"]
    keep: Bool[Tensor, "b c c"]
    cuts: tuple[SlicerSettings | None, ...]
    labels: Labels


def batch_of(
    samples: list[Sample], patches: PatchConfig, rng: np.random.Generator, device: torch.device
) -> Batch:
    """Stack samples and make their labels.

    Args:
        samples: Crops of one size.
        patches: How to choose what the deep part may see.
        rng: Source of chance.
        device: Where the tensors go.
    """
    side = samples[0].image.shape[0] // CELL_PX
    images = np.stack([s.image for s in samples])
    heats, weights, keeps, cuts, usables = [], [], [], [], []
    for s in samples:
        heat, weight = draw_heat(s.xyxy, (side, side))
        if s.shapes is not None:
            bits = s.shapes.reshape(side, CELL_PX, side, CELL_PX)
            cells = np.bitwise_or.reduce(np.bitwise_or.reduce(bits, 3), 1)
            heat = with_masks(heat, (cells & MASKED) > 0, (cells & BOXED) > 0)
        keep, cut = np.ones((side, side), bool), None
        if rng.random() < patches.share:
            cells_side = int(rng.choice(patches.cells))
            if rng.random() < patches.by_seeker:
                cut = SlicerSettings(
                    patch_hw=(cells_side, cells_side),
                    threshold=float(rng.uniform(*patches.thresholds)),
                    min_gain=float(rng.uniform(*MIN_GAINS)),
                )
            else:
                some = random_kept_area(heat, cells_side, patches.extra, rng)
                keep = some if some.any() else keep
        ignored = [_inside(s.ignore_xyxy, side >> i, CELL_PX << i) for i in range(LEVELS)]
        heats.append(heat)
        weights.append(np.where(ignored[0] & (heat == 0), np.float32(0), weight))
        keeps.append(keep)
        cuts.append(cut)
        usables.append(_all_levels(keep) & ~np.concatenate([i.reshape(-1) for i in ignored]))
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
    return Batch(image, torch.from_numpy(np.stack(keeps)).to(device), tuple(cuts), labels)


def losses_of(
    network: Network, batch: Batch, config: TrainConfig, *, mixed: bool = False
) -> Losses:
    """Forward and losses of one batch.

    Args:
        network: What learns.
        batch: Samples.
        config: Says which losses.
        mixed: Compute the network in bfloat16, the losses never. Weights, gradients and what the
            optimiser keeps stay in floats of 32 bits, so nothing has to be scaled.
    """
    with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=mixed):
        p3, heat = network.look(batch.image)
        keep, labels = cut_by_seeker(batch, heat)
        logits, distances = network.detect(p3, keep)
    centres, strides = cell_centres((keep.shape[1], keep.shape[2]), p3.device)
    told = (heat.float(), logits.float(), distances.float())
    return detector_losses(*told, centres, strides, labels, config.seeker_loss)


def cut_by_seeker(
    batch: Batch, heat_logits: Float[Tensor, "b c c"]
) -> tuple[Bool[Tensor, "b c c"], Labels]:
    """The kept areas once the seeker has spoken, and the labels that are left in them.

    Args:
        batch: Samples, some of which the seeker is to cut.
        heat_logits: The seeker's answer.
    """
    heat = heat_logits.detach().sigmoid().float().cpu().numpy()
    keep = batch.keep.clone()
    usable = batch.labels.usable.clone()
    for i, cut in enumerate(batch.cuts):
        # Heat that is not finite is left to the check of the gradient, which says what to do.
        if cut is None or not np.isfinite(heat[i]).all():
            continue
        kept = slice_heat(heat[i], cut).union()
        if kept.any():
            keep[i] = torch.from_numpy(kept)
            usable[i] &= torch.from_numpy(_all_levels(kept)).to(usable.device)
    return keep, replace(batch.labels, usable=usable)


def _all_levels(keep: Bool[np.ndarray, "c c"]) -> Bool[np.ndarray, " a"]:
    """An area of whole aligned blocks, at the three levels, one after the other."""
    return np.concatenate([keep[:: 1 << i, :: 1 << i].reshape(-1) for i in range(LEVELS)])


def _inside(
    xyxy: Float32[np.ndarray, "n 4"], side: int, stride: int
) -> Bool[np.ndarray, "side side"]:
    """Cells whose centre lies in a region."""
    centre = (np.arange(side) + 0.5) * stride
    in_x = (xyxy[:, :1] <= centre) & (centre < xyxy[:, 2:3])
    in_y = (xyxy[:, 1:2] <= centre) & (centre < xyxy[:, 3:])
    return np.asarray((in_y[:, :, None] & in_x[:, None, :]).any(0))
