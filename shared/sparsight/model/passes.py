"""The two ways through the deep part: whole maps, or the kept cells of many frames at once.

dense    P3 of a frame ─ trunk ─ neck ─ head ──────────────────────> answer of every cell
split    P3s, patches ─ kept cells of all frames, as rows ─ trunk ─ neck
                                                   marks ─ sparse head ─> answers of the marked
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn import functional as F

from sparsight.geometry import CELL_PX
from sparsight.model.cost import Cost
from sparsight.model.network import Network, cell_centres
from sparsight.model.sparse import LEVELS, CellArea
from sparsight.model.trunk import alone
from sparsight.slicer import Patches


@dataclass(frozen=True, slots=True)
class Answer:
    """What the head said of one frame.

    Attributes:
        logits: Class logits of the computed cells.
        distances: Distances to the four sides of their boxes, in input pixels.
        centres_xy: Where they lie, in input pixels.
        gflops: What the frame cost, stem included.
    """

    logits: Float[Tensor, "a k"]
    distances: Float[Tensor, "a 4"]
    centres_xy: Float[Tensor, "a 2"]
    gflops: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What the device half knows of one frame.

    Attributes:
        p3: The stem's map.
        heat: The seeker's map.
        patches: What the slicer kept.
    """

    p3: Float[Tensor, "1 c h w"]
    heat: Float32[np.ndarray, "h w"]
    patches: Patches


def dense_pass(network: Network, cost: Cost, seen: Sequence[Seen]) -> list[Answer]:
    """Every cell of every frame, one frame after the other."""
    answers = []
    for frame in seen:
        grid = (frame.p3.shape[2], frame.p3.shape[3])
        logits, distances = network.head(network.neck(frame.p3, *network.trunk(frame.p3)))
        centres, _ = cell_centres(grid, frame.p3.device)
        answers.append(Answer(logits[0], distances[0], centres, cost.dense_gflops(grid)))
    return answers


class SplitPass:
    """The kept cells of some frames: first `trunk`, then `head`.

    Frames of different sizes share one area: what lies beyond a frame is not kept, which is just
    what padding is.
    """

    def __init__(self, network: Network, cost: Cost, seen: Sequence[Seen], mark: float) -> None:
        """Lay out the kept cells.

        Args:
            network: The folded network.
            cost: Counts what is computed.
            seen: Frames.
            mark: Heat from which on a cell is marked for the head; 0 marks all.
        """
        self.network, self.cost, self.seen = network, cost, seen
        device = network.stem.normalise.mean.device
        self.grids = [(s.p3.shape[2], s.p3.shape[3]) for s in seen]
        shape = (len(seen), max(h for h, _ in self.grids), max(w for _, w in self.grids))
        keep, marks = np.zeros(shape, bool), np.zeros(shape, bool)
        for i, (h, w) in enumerate(self.grids):
            keep[i, :h, :w] = seen[i].patches.union()
            marks[i, :h, :w] = seen[i].heat >= mark
        self.keep = torch.from_numpy(keep).to(device)
        self.marks = torch.from_numpy(marks).to(device)
        self.area = CellArea.of(self.keep)

    def trunk(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Rows of N3, N4 and N5, or None if nothing is kept of any frame."""
        if len(self.area.rows[0]) == 0:
            return None
        p3 = torch.cat(
            [
                s.p3[0].permute(1, 2, 0)[self.keep[i, :h, :w]][:, :, None, None]
                for i, (s, (h, w)) in enumerate(zip(self.seen, self.grids, strict=True))
            ]
        )
        with self.network.holder.keeping(self.area):
            if self.network.trunk.joined:
                p4, p5 = self.network.trunk(p3)
            else:
                p4, p5 = alone(
                    self.network.trunk,
                    [s.p3 for s in self.seen],
                    [s.patches for s in self.seen],
                    self.area,
                )
            levels: tuple[Tensor, Tensor, Tensor] = self.network.neck(p3, p4, p5)
        return levels

    def head(self, levels: tuple[Tensor, Tensor, Tensor] | None) -> list[Answer]:
        """Answers of the marked cells, frame by frame."""
        frames = len(self.seen)
        near_cells, marked_cells = np.zeros(frames, int), np.zeros(frames, int)
        logits: list[list[Tensor]] = [[] for _ in range(frames)]
        distances: list[list[Tensor]] = [[] for _ in range(frames)]
        centres: list[list[Tensor]] = [[] for _ in range(frames)]
        for i in range(LEVELS if levels is not None else 0):
            assert levels is not None
            _, h, w = self.area.shapes[i]
            rows = self.area.rows[i]
            marked = _spread(self.marks, i).reshape(-1)[rows].nonzero()[:, 0]
            k, d, near = self.network.head.sparse(levels[i], i, self.area, marked)
            flat = rows[marked]
            xy = torch.stack([flat % w, flat // w % h], 1) + 0.5
            counts = torch.bincount(flat // (h * w), minlength=frames).tolist()
            near_cells += torch.bincount(rows[near] // (h * w), minlength=frames).cpu().numpy()
            marked_cells += np.array(counts)
            for parts, whole in ((logits, k), (distances, d), (centres, xy * (CELL_PX << i))):
                for part, piece in zip(parts, whole.split(counts), strict=True):
                    part.append(piece)
        nothing = self.marks.new_zeros((0, 4), dtype=torch.float32)
        classes = len(self.network.settings.classes)
        return [
            Answer(
                torch.cat(logits[i] or [nothing.new_zeros((0, classes))]),
                torch.cat(distances[i] or [nothing]),
                torch.cat(centres[i] or [nothing[:, :2]]),
                self.cost.split_gflops(s.patches, int(near_cells[i]), int(marked_cells[i])),
            )
            for i, s in enumerate(self.seen)
        ]


def _spread(marks: Bool[Tensor, "b h w"], level: int) -> Bool[Tensor, "b hl wl"]:
    """Marked cells of a level: pooled from P3, grown by one, as neighbours answer for a box too."""
    m = marks[:, None].float()
    if level:
        m = F.max_pool2d(m, 1 << level)
    return F.max_pool2d(m, 3, 1, 1)[:, 0] > 0
