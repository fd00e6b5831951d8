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
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from sparsight.codec.zones import told, zones_of
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
class Kept:
    """What the slicer kept of one frame.

    Attributes:
        patches: The patches.
        marks: Cells that are worth the head; what lies outside the patches is left out anyway.
        halo: Marks that a field beside a patch needs around it to be seen too; 0 for no halo.
    """

    patches: Patches
    marks: Bool[np.ndarray, "h w"]
    halo: int = 0

    def area(self) -> Bool[np.ndarray, "h w"]:
        """The cells that the deep part sees: those of the patches and of their halo."""
        union = self.patches.union()
        return told(zones_of(self.marks & union, union, self.halo)) if self.halo else union


def dense_pass(
    network: Network, cost: Cost, p3s: Sequence[Float[Tensor, "1 c _ _"]]
) -> list[Answer]:
    """Every cell of every frame, one frame after the other."""
    answers = []
    for p3 in p3s:
        grid = (p3.shape[2], p3.shape[3])
        logits, distances = network.head(network.neck(p3, *network.trunk(p3)))
        centres, _ = cell_centres(grid, p3.device)
        answers.append(Answer(logits[0], distances[0], centres, cost.dense_gflops(grid)))
    return answers


class SplitPass:
    """The kept cells of some frames: first P3 as rows, then `trunk`, then `head`.

    Frames of different sizes share one area: what lies beyond a frame is not kept, which is just
    what padding is.

    Attributes:
        area: The kept cells of all frames.
    """

    def __init__(self, network: Network, cost: Cost, kept: Sequence[Kept]) -> None:
        """Lay out the kept cells.

        Args:
            network: The folded network.
            cost: Counts what is computed.
            kept: What is kept of each frame.
        """
        self.network, self.cost, self.kept = network, cost, kept
        device = network.stem.normalise.mean.device
        self.grids = [k.patches.grid_hw for k in kept]
        shape = (len(kept), max(h for h, _ in self.grids), max(w for _, w in self.grids))
        keep, marks = np.zeros(shape, bool), np.zeros(shape, bool)
        for i, (h, w) in enumerate(self.grids):
            keep[i, :h, :w] = kept[i].area()
            marks[i, :h, :w] = kept[i].marks & kept[i].patches.union()
        self.keep = torch.from_numpy(keep).to(device)
        self.marks = torch.from_numpy(marks).to(device)
        self.area = CellArea.of(self.keep)

    def rows_of(self, p3s: Sequence[Float[Tensor, "1 c _ _"]]) -> Float[Tensor, "n c 1 1"]:
        """P3 of each frame -> rows of the kept cells."""
        return torch.cat(
            [
                p3[0].permute(1, 2, 0)[self.keep[i, :h, :w]][:, :, None, None]
                for i, (p3, (h, w)) in enumerate(zip(p3s, self.grids, strict=True))
            ]
        )

    def trunk(self, p3: Float[Tensor, "n c 1 1"]) -> tuple[Tensor, Tensor, Tensor] | None:
        """Rows of P3 -> rows of N3, N4 and N5; None if nothing is kept of any frame."""
        if len(self.area.rows[0]) == 0:
            return None
        with self.network.holder.keeping(self.area):
            if self.network.trunk.joined:
                p4, p5 = self.network.trunk(p3)
            else:
                maps = self.area.map_of(p3)
                p4, p5 = alone(
                    self.network.trunk,
                    [maps[i : i + 1, :, :h, :w] for i, (h, w) in enumerate(self.grids)],
                    [k.patches for k in self.kept],
                    self.area,
                )
            levels: tuple[Tensor, Tensor, Tensor] = self.network.neck(p3, p4, p5)
        return levels

    def head(self, levels: tuple[Tensor, Tensor, Tensor] | None) -> list[Answer]:
        """Answers of the marked cells, frame by frame."""
        frames = len(self.kept)
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
        cells = self.keep.sum((1, 2)).tolist()
        return [
            Answer(
                torch.cat(logits[i] or [nothing.new_zeros((0, classes))]),
                torch.cat(distances[i] or [nothing]),
                torch.cat(centres[i] or [nothing[:, :2]]),
                self.cost.split_gflops(
                    k.patches, cells[i], int(near_cells[i]), int(marked_cells[i])
                ),
            )
            for i, k in enumerate(self.kept)
        ]


def _spread(marks: Bool[Tensor, "b h w"], level: int) -> Bool[Tensor, "b hl wl"]:
    """Marked cells of a level: pooled from P3, grown by one, as neighbours answer for a box too."""
    m = marks[:, None].float()
    if level:
        m = F.max_pool2d(m, 1 << level)
    return F.max_pool2d(m, 3, 1, 1)[:, 0] > 0
