"""The merge: one list of objects a frame.

    logits, distances of the computed cells
        └─ score cut ─ boxes ─ NMS per class over the whole frame ─ best 500 ─> frame pixels

Boxes are made in the frame's coordinates from the start, so neighbouring patches' answers meet in
one NMS and a box is never clipped by a patch. NMS runs class by class: shifting boxes by class in
float32, the usual trick, changes decisions.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import nms

from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.settings import DetectSettings

CANDIDATES = 8000
"""Class scores of a frame that reach NMS, best first."""


def merge(
    logits: Float[Tensor, "a k"],
    distances: Float[Tensor, "a 4"],
    centres_xy: Float[Tensor, "a 2"],
    letterbox: Letterbox,
    settings: DetectSettings,
) -> Detections:
    """Answers of a frame's cells -> its objects.

    Args:
        logits: Class logits of the computed cells.
        distances: Left, top, right, bottom distances of their boxes, in input pixels.
        centres_xy: Their centres, in input pixels of the frame.
        letterbox: The way back to frame pixels.
        settings: Score cut, overlap, and how many to keep.
    """
    cell, label = (logits >= _logit(settings.score_min)).nonzero(as_tuple=True)
    score = logits[cell, label].sigmoid()
    if len(score) > CANDIDATES:
        score, best = score.topk(CANDIDATES)
        cell, label = cell[best], label[best]
    d, c = distances[cell], centres_xy[cell]
    xyxy = torch.cat([c - d[:, :2], c + d[:, 2:]], 1)
    high, wide = letterbox.scaled_hw
    xyxy = torch.stack(
        [xyxy[:, i].clamp(0, limit) for i, limit in enumerate((wide, high, wide, high))], 1
    )
    # What lies in the padding has no area left; NMS would keep every one of such boxes.
    seen = (xyxy[:, 2:] > xyxy[:, :2]).all(1)
    xyxy, score, label = xyxy[seen], score[seen], label[seen]
    kept = []
    for k in range(logits.shape[1]):
        of_class = (label == k).nonzero()[:, 0]
        if len(of_class):
            kept.append(of_class[nms(xyxy[of_class], score[of_class], settings.nms_iou)])
    if not kept:
        return Detections.empty()
    keep = torch.cat(kept)
    keep = keep[score[keep].argsort(descending=True, stable=True)[: settings.max_detections]]
    return Detections(
        letterbox.to_frame(xyxy[keep].cpu().numpy().astype(np.float32)),
        score[keep].cpu().numpy().astype(np.float32),
        label[keep].cpu().numpy().astype(np.int64),
    )


def _logit(p: float) -> float:
    if p <= 0 or p >= 1:
        return -math.inf if p <= 0 else math.inf
    return math.log(p / (1 - p))
