"""Which cells answer for which box: dynamic soft assignment.

For every box, candidate cells are those whose centre lies in it (at stride 8, in a box of at least
16x16 px, so that a 5 px object has candidates). Each candidate costs

    BCE(class score, IoU) * |IoU - score|²  -  3 ln IoU  +  10^(centre distance / stride - 3)

and the k cheapest answer, k being the sum of the box's 13 best IoUs; a cell wanted by two boxes
goes to the cheaper. After RTMDet (arXiv 2212.07784, §3.3) and SimOTA (arXiv 2107.08430, §2.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

TOP_IOUS = 13
SMALLEST_PX = 16.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """The answer for one picture.

    Attributes:
        cells: Cells that answer for a box.
        boxes: The box that each answers for.
        ious: IoU of the predicted box with it, the target of its class score.
    """

    cells: Int64[Tensor, " p"]
    boxes: Int64[Tensor, " p"]
    ious: Float[Tensor, " p"]


@torch.no_grad()
def assign(
    scores: Float[Tensor, "a k"],
    predicted_xyxy: Float[Tensor, "a 4"],
    centres_xy: Float[Tensor, "a 2"],
    strides: Float[Tensor, " a"],
    usable: Bool[Tensor, " a"],
    xyxy: Float[Tensor, "n 4"],
    labels: Int64[Tensor, " n"],
) -> Assignment:
    """Assign the cells of one picture.

    Args:
        scores: Class logits of all cells.
        predicted_xyxy: Predicted boxes, in input pixels.
        centres_xy: Centres of the cells, in input pixels.
        strides: Stride of each cell's level, in pixels.
        usable: Cells that may answer: kept, and outside ignore regions.
        xyxy: Boxes, in input pixels.
        labels: Their classes.
    """
    none = torch.zeros(0, dtype=torch.long, device=scores.device)
    if len(xyxy) == 0:
        return Assignment(none, none, none.float())
    centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    half = (xyxy[:, 2:] - xyxy[:, :2]) / 2
    roomy = torch.where(
        strides[:, None, None] == 8, half.clamp(min=SMALLEST_PX / 2)[None], half[None]
    )
    away = centres_xy[:, None] - centre[None]
    inside = (away.abs() < roomy).all(-1) & usable[:, None]
    cell, box = inside.nonzero(as_tuple=True)
    if len(cell) == 0:
        return Assignment(none, none, none.float())
    iou = _iou(predicted_xyxy[cell], xyxy[box])
    logit = scores[cell, labels[box]]
    quality = (
        F.binary_cross_entropy_with_logits(logit, iou, reduction="none")
        * (iou - logit.sigmoid()).abs() ** 2
    )
    distance = away[cell, box].norm(dim=-1) / strides[cell]
    cost = quality - 3.0 * torch.log(iou + 1e-7) + 10.0 ** (distance - 3.0)

    # One row a box from here on: pad its candidates to the longest list.
    n = len(xyxy)
    counts = torch.bincount(box, minlength=n)
    order = torch.argsort(box, stable=True)
    start = torch.cumsum(counts, 0) - counts
    slot = torch.arange(len(order), device=cell.device) - start[box[order]]
    width = int(counts.max())
    table = cost.new_full((n, width), float("inf"))
    table[box[order], slot] = cost[order]
    overlap = cost.new_zeros((n, width))
    overlap[box[order], slot] = iou[order]
    best = overlap.topk(min(TOP_IOUS, width), dim=1).values.sum(1)
    k = torch.minimum(best.long().clamp(min=1), counts)
    rank = table.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    taken = rank[box[order], slot] < k[box[order]]
    chosen = order[taken]

    # A cell that several boxes want goes to the one it costs least.
    cheapest = cost.new_full((len(scores),), float("inf")).scatter_reduce(
        0, cell[chosen], cost[chosen], "amin"
    )
    chosen = chosen[cost[chosen] <= cheapest[cell[chosen]]]
    first = torch.full((len(scores),), len(cost), device=cell.device).scatter_reduce(
        0, cell[chosen], chosen, "amin"
    )
    chosen = chosen[first[cell[chosen]] == chosen]
    return Assignment(cell[chosen], box[chosen], iou[chosen].clamp(min=0.0))


def _iou(a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    inter = (
        (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    )
    area = (a[:, 2:] - a[:, :2]).clamp(min=0).prod(1) + (b[:, 2:] - b[:, :2]).clamp(min=0).prod(1)
    return inter / (area - inter).clamp(min=1e-6)
