"""What training minimises: classes + 2 boxes + seeker.

    classes  quality focal loss (arXiv 2006.04388, Eq. 6), beta 2, target = IoU, over kept cells
             outside ignore regions
    boxes    1 - GIoU (arXiv 1902.09630), weighted by IoU
    seeker   weighted BCE on the heat (ESOD's code), or focal + dice 20:1 (ESOD's text)

The first two are divided by the sum of the soft targets in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from sparsight_cloud.training.assign import assign


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a batch.

    Attributes:
        xyxy: Boxes of each picture, in input pixels.
        classes: Their classes.
        heat: The seeker's targets.
        weight: The seeker's weights, 0 in ignore regions.
        usable: Cells of all three levels that are kept and outside ignore regions.
    """

    xyxy: tuple[Float[Tensor, "_ 4"], ...]
    classes: tuple[Int64[Tensor, " _"], ...]
    heat: Float[Tensor, "b h w"]
    weight: Float[Tensor, "b h w"]
    usable: Bool[Tensor, "b a"]


@dataclass(frozen=True, slots=True)
class Losses:
    """The terms, each a scalar with gradient, and what is worth watching."""

    classes: Float[Tensor, ""]
    boxes: Float[Tensor, ""]
    seeker: Float[Tensor, ""]
    positives_per_box: float
    usable: float

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is minimised."""
        return self.classes + 2.0 * self.boxes + self.seeker


def detector_losses(
    heat_logits: Float[Tensor, "b h w"],
    logits: Float[Tensor, "b a k"],
    distances: Float[Tensor, "b a 4"],
    centres_xy: Float[Tensor, "a 2"],
    strides: Float[Tensor, " a"],
    labels: Labels,
    seeker: Literal["bce", "focal_dice"] = "bce",
) -> Losses:
    """All terms of a batch.

    Args:
        heat_logits: The seeker's answer.
        logits: Class logits of all cells.
        distances: From the cells' centres to left, top, right and bottom, in input pixels.
        centres_xy: Centres of the cells, in input pixels.
        strides: Stride of each cell, in pixels.
        labels: What is right.
        seeker: The seeker's loss.
    """
    predicted = torch.cat([centres_xy - distances[..., :2], centres_xy + distances[..., 2:]], -1)
    target = torch.zeros_like(logits)
    rows, wanted, weights = [], [], []
    for i, (xyxy, classes) in enumerate(zip(labels.xyxy, labels.classes, strict=True)):
        a = assign(logits[i], predicted[i], centres_xy, strides, labels.usable[i], xyxy, classes)
        target[i, a.cells, classes[a.boxes]] = a.ious
        rows.append(predicted[i, a.cells])
        wanted.append(xyxy[a.boxes])
        weights.append(a.ious)
    weight = torch.cat(weights)
    norm = weight.sum().clamp(min=1.0)
    focus = (target - logits.sigmoid()).abs() ** 2
    quality = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * focus
    giou = generalized_box_iou_loss(torch.cat(rows), torch.cat(wanted), reduction="none")
    return Losses(
        classes=(quality * labels.usable[..., None]).sum() / norm,
        boxes=(giou * weight).sum() / norm,
        seeker=seeker_loss(heat_logits, labels.heat, labels.weight, seeker),
        positives_per_box=len(weight) / max(1, sum(len(b) for b in labels.xyxy)),
        usable=float(labels.usable.float().mean()),
    )


def seeker_loss(
    logits: Float[Tensor, "b h w"],
    heat: Float[Tensor, "b h w"],
    weight: Float[Tensor, "b h w"],
    kind: Literal["bce", "focal_dice"],
) -> Float[Tensor, ""]:
    """The seeker's term; cells of weight 0 don't count."""
    if kind == "bce":
        bce = F.binary_cross_entropy_with_logits(logits, heat, reduction="none")
        return (bce * weight).sum() / (weight > 0).sum().clamp(min=1)
    seen = (weight > 0).float()
    p = logits.sigmoid()
    focal = (
        F.binary_cross_entropy_with_logits(logits, heat, reduction="none") * (heat - p).abs() ** 2
    )
    dice = 1 - (2 * (p * heat * seen).sum() + 1) / (((p * p + heat * heat) * seen).sum() + 1)
    return 20.0 * (focal * seen).sum() / seen.sum().clamp(min=1) + dice
