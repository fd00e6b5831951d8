"""The head: decoupled, anchor-free, on three levels.

    N3, N4, N5 ─┬─ 3x3, 3x3 ─ 1x1 ─> class logits  [.., K]
                └─ 3x3, 3x3 ─ 1x1 ─> left, top, right, bottom distances [.., 4]

The convolutions are shared by the levels, their norms are not (RTMDet, arXiv 2212.07784, §3.2). A
distance is exp(raw * scale of the level) * stride, which starts at 1.5 strides, so that untrained
boxes already have useful IoUs for the assigner. In cells form it runs on marked cells only: the
sparse head (ESOD, arXiv 2407.16424, §III-D). The second 3x3 is computed at the marked cells, the
first at these and their neighbours, so the numbers are those of the dense head.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from sparsight.model.neck import folded
from sparsight.model.rows import conv_rows
from sparsight.model.sparse import LEVELS, AreaHolder, CellArea, CellConv2d

STRIDES_PX = (8, 16, 32)
DEPTH = 2


class Branch(nn.Module):
    """Two shared convolutions with a norm for each level, and a predictor."""

    def __init__(self, channels: int, outputs: int, holder: AreaHolder) -> None:
        super().__init__()
        self.holder = holder
        self.convs = nn.ModuleList(
            CellConv2d(channels, channels, 3, holder=holder) for _ in range(DEPTH)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(LEVELS)) for _ in range(DEPTH)
        )
        self.predict = nn.Conv2d(channels, outputs, 1)

    def fold(self) -> None:
        """Give every level convolutions of its own, its norms folded in; for inference only."""
        if not len(self.norms):
            return
        by_level = []
        for level in range(LEVELS):
            convs = nn.ModuleList()
            for conv, norm in self._unfolded(level):
                own = CellConv2d(
                    conv.in_channels,
                    conv.out_channels,
                    3,
                    holder=self.holder,
                    level=level,
                    bias=True,
                )
                own.weight, own.bias = folded(conv, norm)
                convs.append(own)
            by_level.append(convs)
        self.convs, self.norms = nn.ModuleList(by_level), nn.ModuleList()

    def forward(self, x: Tensor, level: int) -> Tensor:
        """All cells of one level: the whole map, or the kept rows."""
        if len(self.norms):
            for conv, norm in self._unfolded(level):
                conv.level = level
                x = F.relu(norm(conv(x)))
        else:
            for conv in self._folded(level):
                x = F.relu(conv(x), inplace=True)
        out: Tensor = self.predict(x)
        return out

    def at(
        self,
        x: Float[Tensor, "n c"],
        near: Int64[Tensor, "d 9"],
        marked: Int64[Tensor, "m 9"],
        level: int,
    ) -> Float[Tensor, "m k"]:
        """The sparse head of one level.

        Args:
            x: Rows of the kept cells.
            near: Rows of `x` around each marked cell or neighbour of one.
            marked: Rows of `near` around each marked cell.
            level: Level of the rows.
        """
        for conv, table in zip(self._folded(level), (near, marked), strict=True):
            x = conv_rows(x, conv.weight, conv.bias, table).relu_()
        return F.linear(x, self.predict.weight.flatten(1), self.predict.bias)

    def _unfolded(self, level: int) -> list[tuple[CellConv2d, nn.BatchNorm2d]]:
        pairs = []
        for conv, norms in zip(self.convs, self.norms, strict=True):
            assert isinstance(conv, CellConv2d) and isinstance(norms, nn.ModuleList)
            norm = norms[level]
            assert isinstance(norm, nn.BatchNorm2d)
            pairs.append((conv, norm))
        return pairs

    def _folded(self, level: int) -> list[CellConv2d]:
        convs = self.convs[level]
        assert isinstance(convs, nn.ModuleList)
        return [c for c in convs if isinstance(c, CellConv2d)]


class Head(nn.Module):
    """Classes and boxes of every cell, or of the marked ones."""

    def __init__(self, channels: int, classes: int, holder: AreaHolder) -> None:
        """A head.

        Args:
            channels: Channels of N3, N4 and N5.
            classes: Number of classes.
            holder: Names the area to compute.
        """
        super().__init__()
        self.holder = holder
        self.classes = Branch(channels, classes, holder)
        self.boxes = Branch(channels, 4, holder)
        self.scales = nn.Parameter(torch.ones(LEVELS))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.normal_(
                    m.weight, std=0.01 if m.kernel_size[0] == 1 else math.sqrt(2.0 / (9 * channels))
                )
        assert self.classes.predict.bias is not None and self.boxes.predict.bias is not None
        nn.init.constant_(self.classes.predict.bias, -math.log(99.0))
        nn.init.constant_(self.boxes.predict.bias, math.log(1.5))

    def fold(self) -> None:
        """Fold the norms; for inference only."""
        self.classes.fold()
        self.boxes.fold()

    def distances(self, raw: Tensor, level: int) -> Tensor:
        """Raw box outputs -> distances from the cells' centres to the four sides, input pixels."""
        return torch.exp((raw * self.scales[level]).clamp(-6.0, 6.0)) * STRIDES_PX[level]

    def forward(
        self, levels: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Float[Tensor, "b a k"], Float[Tensor, "b a 4"]]:
        """Maps or rows -> logits and distances of all cells, level after level, row by row.

        In cells form there are zeros where nothing is kept.
        """
        logits = torch.cat([self._whole(self.classes(n, i), i) for i, n in enumerate(levels)], 1)
        distances = [self._whole(self.boxes(n, i), i) for i, n in enumerate(levels)]
        return logits, torch.cat([self.distances(d, i) for i, d in enumerate(distances)], 1)

    def _whole(self, x: Tensor, level: int) -> Tensor:
        area = self.holder.now
        return (
            x.permute(0, 2, 3, 1).flatten(1, 2)
            if area is None
            else area.scatter(x.flatten(1), level)
        )

    def sparse(
        self, n: Float[Tensor, "n c 1 1"], level: int, area: CellArea, marked: Int64[Tensor, " m"]
    ) -> tuple[Float[Tensor, "m k"], Float[Tensor, "m 4"], Int64[Tensor, " d"]]:
        """The marked rows of one level.

        Args:
            n: Rows of the kept cells.
            level: Which level they are of.
            area: The kept area.
            marked: Which of the rows to compute, ascending.

        Returns:
            Logits and distances (input pixels) of these rows, and the rows at which the first
            convolution ran.
        """
        around = area.neighbours(level, 3, 1, 1)
        last = len(n)
        wanted = torch.zeros(last + 1, dtype=torch.bool, device=n.device)
        wanted[around[marked].flatten()] = True
        wanted[last] = False
        near = wanted.nonzero()[:, 0]
        position = torch.full((last + 1,), len(near), device=n.device)
        position[near] = torch.arange(len(near), device=n.device)
        x = n.flatten(1)
        table, inner = around[near], position[around[marked]]
        logits = self.classes.at(x, table, inner, level)
        return logits, self.distances(self.boxes.at(x, table, inner, level), level), near
