"""Convolutions that compute only the kept area.

A frame's *kept area* is the union of its patches (`sparsight.slicer.Patches.union`). Patches start
at multiples of four P3 cells, so the kept area has an exact twin at P4 and P5. Everything deeper
than P3 obeys one rule: **a convolution sees zeros outside the kept area**, and it computes
nothing there:

    whole map    [B, C, H, W] ── conv ───────────────> [B, C', H, W]
    kept cells   [N, C, 1, 1] ── gather, one GEMM ───> [N', C', 1, 1]   a row for each kept cell

Neighbouring patches therefore see each other: no border is cut inside the kept area, no halo is
needed and no cell is computed twice. A map of one pixel a row leaves every pointwise layer of any
backbone (activations, sums, norms) as it is; only convolutions look up their neighbours, in an
index table built once a batch. Training runs on kept cells too, so a detector is trained on
patches as they will be cut, and pays for these only.

ESOD (arXiv 2407.16424, AdaSlicer) stacks windows and runs each as if it were a picture; cut like
that, our detector lost 2.8 to 4.4 AP (design training.md §3).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from sparsight.model.rows import conv_rows, neighbour_table, take_rows

LEVELS = 3
"""P3, P4 and P5: strides 8, 16 and 32."""


@dataclass(slots=True)
class CellArea:
    """The kept area of a batch as rows; what inference uses.

    Attributes:
        rows: Flat indices of the kept cells into the [B, H, W] map of each level, ascending.
        shapes: B, H, W of each level.
    """

    rows: tuple[Int64[Tensor, " _"], ...]
    shapes: tuple[tuple[int, int, int], ...]
    _maps: dict[int, Tensor] = field(default_factory=dict)
    _tables: dict[tuple[int, int, int, int], Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, keep: Bool[Tensor, "b h w"]) -> CellArea:
        """From the kept P3 cells; the sides are multiples of four and so is every edge inside."""
        levels = [keep[:, :: 2**i, :: 2**i] for i in range(LEVELS)]
        return cls(
            tuple(m.reshape(-1).nonzero()[:, 0] for m in levels),
            tuple((m.shape[0], m.shape[1], m.shape[2]) for m in levels),
        )

    def row_map(self, level: int) -> Int64[Tensor, " cells"]:
        """Row of each cell of the whole map; where it isn't kept, N, the row of zeros."""
        if level not in self._maps:
            rows = self.rows[level]
            out = torch.full((math.prod(self.shapes[level]),), len(rows), device=rows.device)
            out[rows] = torch.arange(len(rows), device=rows.device)
            self._maps[level] = out
        return self._maps[level]

    def neighbours(self, level: int, kernel: int, stride: int, pad: int) -> Int64[Tensor, "n taps"]:
        """Rows under each tap of a kernel, for every output cell.

        Args:
            level: Level of the input; a stride of 2 leads to the next.
            kernel: Side of the kernel.
            stride: 1 or 2.
            pad: Zeros before the first row and column.
        """
        key = (level, kernel, stride, pad)
        if key not in self._tables:
            _, h, w = self.shapes[level]
            _, oh, ow = self.shapes[level + stride - 1]
            out = self.rows[level + stride - 1]
            if out.device.type == "cpu":
                sides = (h, w, oh, ow, kernel, stride, pad)
                self._tables[key] = neighbour_table(
                    self.row_map(level), len(self.rows[level]), out, sides
                )
                return self._tables[key]
            tap = torch.arange(kernel, device=out.device) - pad
            y = (out // ow % oh * stride)[:, None] + tap
            x = (out % ow * stride)[:, None] + tap
            flat = (out // (oh * ow) * h * w)[:, None, None] + y[:, :, None] * w + x[:, None, :]
            inside = ((y >= 0) & (y < h))[:, :, None] & ((x >= 0) & (x < w))[:, None, :]
            found = self.row_map(level)[torch.where(inside, flat, 0)]
            self._tables[key] = torch.where(inside, found, len(self.rows[level])).flatten(1)
        return self._tables[key]

    def gather(self, x: Float[Tensor, "b c h w"], level: int = 0) -> Float[Tensor, "n c 1 1"]:
        """Whole map -> rows."""
        return take_rows(x.permute(0, 2, 3, 1).flatten(0, 2), self.rows[level])[:, :, None, None]

    def scatter(self, x: Float[Tensor, "n k"], level: int) -> Float[Tensor, "b cells k"]:
        """Rows -> whole map, row by row; zeros where nothing is kept."""
        b, h, w = self.shapes[level]
        out = x.new_zeros((b * h * w, x.shape[1])).index_copy(0, self.rows[level], x)
        return out.view(b, h * w, -1)

    def map_of(self, x: Float[Tensor, "n c 1 1"], level: int = 0) -> Float[Tensor, "b c h w"]:
        """Rows -> whole map, as maps are laid out; zeros where nothing is kept."""
        b, h, w = self.shapes[level]
        return self.scatter(x.flatten(1), level).view(b, h, w, -1).permute(0, 3, 1, 2)

    def children(self, level: int) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " m"]]:
        """Of each kept cell of the next finer level: its row at this level, and which corner it is.

        Corners count from the top left, row by row: 0 to 3.
        """
        _, h, w = self.shapes[level - 1]
        fine = self.rows[level - 1]
        y, x = fine // w % h, fine % w
        parent = fine // (h * w) * (h * w // 4) + y // 2 * (w // 2) + x // 2
        return self.row_map(level)[parent], y % 2 * 2 + x % 2

    def upsample(self, x: Float[Tensor, "n c 1 1"], level: int) -> Float[Tensor, "m c 1 1"]:
        """Rows of a level -> rows of the next finer one, nearest neighbour."""
        return take_rows(x.flatten(1), self.children(level)[0])[:, :, None, None]


class AreaHolder:
    """Tells a detector's convolutions which area the running pass keeps; one value a thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    @property
    def now(self) -> CellArea | None:
        """The area in force, or None for whole maps."""
        area: CellArea | None = getattr(self._local, "area", None)
        return area

    @contextmanager
    def keeping(self, area: CellArea | None) -> Iterator[None]:
        """Everything inside the `with` computes this area only."""
        before = self.now
        self._local.area = area
        try:
            yield
        finally:
            self._local.area = before

    def __deepcopy__(self, memo: dict[int, object]) -> AreaHolder:
        return AreaHolder()


class CellConv2d(nn.Conv2d):
    """A square convolution that computes the area its holder names.

    `scale` is the frozen batch norm of a pretrained backbone, kept apart from the weight so that
    the optimiser works at the weight's own scale; `fold` multiplies it in.
    """

    holder: AreaHolder

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int = 1,
        *,
        holder: AreaHolder,
        level: int = 0,
        groups: int = 1,
        bias: bool = False,
        same: bool = False,
        padding: int | None = None,
    ) -> None:
        """A convolution at a level.

        Args:
            c_in: Channels in.
            c_out: Channels out.
            kernel: Side of the kernel, in cells.
            stride: 1 or 2.
            holder: Names the area to compute.
            level: Level of the input: 0 is P3.
            groups: 1, or `c_in` for a depth-wise convolution.
            bias: Whether to add one.
            same: TensorFlow's padding: with a stride of 2, the smaller half comes first.
            padding: Zeros around the map; None is half the kernel.
        """
        super().__init__(
            c_in,
            c_out,
            kernel,
            stride,
            kernel // 2 if padding is None else padding,
            groups=groups,
            bias=bias,
        )
        self.holder = holder
        self.level = level
        self.same = same
        self.scale: nn.Parameter | None = None

    @property
    def pad_before(self) -> int:
        """Zeros before the first row and column."""
        return (self.kernel_size[0] - self.stride[0]) // 2 if self.same else int(self.padding[0])

    def fold(self) -> None:
        """Multiply the scale into the weight."""
        if self.scale is not None:
            with torch.no_grad():
                self.weight.mul_(self.scale[:, None, None, None])
            self.scale = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] or, in cells form, [N, C, 1, 1]."""
        weight = (
            self.weight if self.scale is None else self.weight * self.scale[:, None, None, None]
        )
        area = self.holder.now
        if area is not None:
            if self.kernel_size[0] == self.stride[0] == 1:
                return F.linear(x.flatten(1), weight.flatten(1), self.bias)[:, :, None, None]
            table = area.neighbours(
                self.level, self.kernel_size[0], self.stride[0], self.pad_before
            )
            return conv_rows(x.flatten(1), weight, self.bias, table)[:, :, None, None]
        if not self.same or self.stride[0] == 1:
            return F.conv2d(x, weight, self.bias, self.stride, self.padding, groups=self.groups)
        before = self.pad_before
        if self.groups > 1 and not torch.is_grad_enabled() and x.device.type != "meta":
            # A zero row and column before the kernel make its padding symmetric: no padded copy of
            # the widest maps there are, a tenth of the stem's time. These zeros are no part of the
            # model: they are neither counted (`cost`) nor exported.
            return F.conv2d(
                x, F.pad(weight, (1, 0, 1, 0)), self.bias, 2, before + 1, groups=self.groups
            )
        after = self.kernel_size[0] - self.stride[0] - before
        x = F.pad(x, (before, after, before, after))
        return F.conv2d(x, weight, self.bias, self.stride, 0, groups=self.groups)


class CellMaxPool2d(nn.MaxPool2d):
    """Max pooling that computes the area its holder names; what isn't kept is never largest."""

    holder: AreaHolder

    def __init__(self, kernel: int, stride: int, padding: int, *, holder: AreaHolder) -> None:
        """A pool whose level, 0 for P3, is set when it is known.

        Args:
            kernel: Side, in cells.
            stride: 1 or 2.
            padding: Cells around the map.
            holder: Names the area to compute.
        """
        super().__init__(kernel, stride, padding)
        self.sides = kernel, stride, padding
        self.holder = holder
        self.level = 0

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] or, in cells form, [N, C, 1, 1]."""
        area = self.holder.now
        if area is None:
            whole: Tensor = super().forward(x)
            return whole
        table = area.neighbours(self.level, *self.sides)
        rows = torch.cat([x.flatten(1), x.new_full((1, x.shape[1]), -math.inf)])
        # Tap by tap: a 13x13 has 169 of them, too many to gather at once.
        out = rows[table[:, 0]]
        for tap in table.unbind(1)[1:]:
            out = torch.maximum(out, rows[tap])
        return out[:, :, None, None]
