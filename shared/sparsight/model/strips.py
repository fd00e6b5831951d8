"""Running a chain of convolutional modules on strips of rows, with the numbers of the whole map.

    image ─ band ┬─ group ─ strip by strip ─> map ─ group ─ strip by strip ─> map ... ┬─> P3
                 ├─ ...                                                               │
                 └─ ...      each strip and band with just the rows above and below ──┘
                             that its own convolutions need, cut off again afterwards

Modules are joined into groups that end where maps are narrow. A strip's widest map fits the
second-level cache; a band's maps between groups fit `MAP_BYTES`, so memory does not grow with the
frame. A group that isn't local (attention, squeeze-and-excite) runs whole: a probe decides. Where
strips and bands end is no part of a model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsight.model.sparse import CellConv2d

STRIP_BYTES = 3 << 20
"""Size of a strip's widest map: measured fastest with 1 MB of second-level cache a core."""

MAP_BYTES = 32 << 20
"""Size of the widest map between groups; one band is enough for frames of 2 megapixels."""

HALO_ROWS_MAX = 48
"""A group that needs more rows above and below would compute most of them twice."""

BAND_STEP_ROWS = 32
"""Bands start at multiples of it, so that every stride divides them."""


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that run together on a strip.

    Attributes:
        module: The modules.
        stride: Input rows for one output row.
        above_rows: Input rows needed above those of an output row, a multiple of the stride.
        below_rows: Likewise below.
        inner_bytes_per_px: Bytes of the widest map inside, for each input pixel.
        out_bytes_per_px: Bytes of the output, for each input pixel.
        local: Whether strips give the numbers of the whole map.
    """

    module: nn.Sequential
    stride: int
    above_rows: int
    below_rows: int
    inner_bytes_per_px: float
    out_bytes_per_px: float
    local: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Run on a whole map."""
        if not self.local:
            whole: Tensor = self.module(x)
            return whole
        px = STRIP_BYTES / max(1.0, self.inner_bytes_per_px * x.shape[0])
        least = max(4 * (self.above_rows + self.below_rows), 2 * self.stride)
        rows = max(int(px / x.shape[3]), least) // self.stride * self.stride
        # A strip of the fewest rows is too large where a frame is wide: cut it into columns too.
        columns = max(int(px / rows) // BAND_STEP_ROWS, 4) * BAND_STEP_ROWS
        if columns >= x.shape[3]:
            return _by_rows(self.module, x, rows, self.stride, self.above_rows, self.below_rows)
        return _by_rows(
            lambda strip: _by_columns(self, strip, columns),
            x,
            rows,
            self.stride,
            self.above_rows,
            self.below_rows,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """How a chain of modules runs."""

    groups: tuple[Group, ...]

    @classmethod
    def of(cls, units: list[nn.Module], device: torch.device) -> Plan:
        """Join modules so that groups end where maps are narrow, and measure each on a probe.

        Args:
            units: Modules that follow each other; the first takes pixels, [B, 3, H, W].
            device: Where they are.
        """
        probe = torch.rand(1, 3, 128, 64, device=device) * 255
        starts, x, width = [0], probe, 0
        for i, unit in enumerate(units):
            x = unit(x)
            if i > 1 and _spatial(unit) and x.shape[1] >= width:
                starts.append(i)
            width = x.shape[1]
        groups, x = [], probe
        for start, end in itertools.pairwise([*starts, len(units)]):
            group = _measure(nn.Sequential(*units[start:end]), x)
            groups.append(group)
            x = group.module(x)
        return cls(tuple(groups))

    def run(self, image: Tensor) -> Tensor:
        """The chain on a batch of images."""
        jumps = list(itertools.accumulate((g.stride for g in self.groups), lambda a, b: a * b))
        before = [1, *jumps[:-1]]
        widest = max(g.out_bytes_per_px / b**2 for g, b in zip(self.groups, before, strict=True))
        rows = int(MAP_BYTES / (image.shape[0] * image.shape[3] * widest))
        if rows >= image.shape[2] or not all(g.local for g in self.groups):
            return self._through(image)
        above = sum(g.above_rows * b for g, b in zip(self.groups, before, strict=True))
        below = sum(g.below_rows * b for g, b in zip(self.groups, before, strict=True))
        above, below = (-(-v // BAND_STEP_ROWS) * BAND_STEP_ROWS for v in (above, below))
        rows = max(rows // BAND_STEP_ROWS * BAND_STEP_ROWS, 4 * above)
        return _by_rows(self._through, image, rows, jumps[-1], above, below)

    def _through(self, x: Tensor) -> Tensor:
        for group in self.groups:
            x = group(x)
        return x


def _spatial(module: nn.Module) -> list[nn.Conv2d | nn.MaxPool2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]


def _measure(module: nn.Sequential, x: Tensor) -> Group:
    above, below, widest = 0, 0, 0.0
    pixels = x.shape[2] * x.shape[3]

    def note(m: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
        nonlocal above, below, widest
        assert isinstance(m, nn.Conv2d | nn.MaxPool2d)
        kernel, stride, pad = (_first(v) for v in (m.kernel_size, m.stride, m.padding))
        pad = m.pad_before if isinstance(m, CellConv2d) else pad
        jump = x.shape[2] // max(1, args[0].shape[2])
        above += pad * jump
        below += max(0, kernel - stride - pad) * jump
        widest = max(widest, 4.0 * y.numel() / pixels)

    hooks = [m.register_forward_hook(note) for m in _spatial(module)]
    y = module(x)
    for hook in hooks:
        hook.remove()
    s = x.shape[2] // y.shape[2]
    above, below = (-(-v // s) * s for v in (above, below))
    same = above + below <= HALO_ROWS_MAX and torch.allclose(
        _by_rows(module, x, 8 * s, s, above, below),
        y,
        rtol=1e-4,
        atol=1e-5 * float(y.abs().max()),
    )
    return Group(module, s, above, below, widest, 4.0 * y.numel() / pixels, local=same)


def _first(value: int | str | tuple[int, ...]) -> int:
    assert not isinstance(value, str)
    return value if isinstance(value, int) else value[0]


def _by_rows(
    run: Callable[[Tensor], Tensor], x: Tensor, rows: int, stride: int, above: int, below: int
) -> Tensor:
    """Run on `rows` input rows at a time, each with those above and below that it needs."""
    height = x.shape[2]
    out: Tensor | None = None
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        a, b = max(0, top - above), min(height, bottom + below)
        y = run(x[:, :, a:b])
        if out is None:
            out = torch.empty(
                (y.shape[0], y.shape[1], height // stride, y.shape[3]),
                dtype=y.dtype,
                device=y.device,
                memory_format=torch.channels_last,
            )
        first, count = (top - a) // stride, (bottom - top) // stride
        out[:, :, top // stride : bottom // stride] = y[:, :, first : first + count]
    assert out is not None
    return out


def _by_columns(group: Group, x: Tensor, columns: int) -> Tensor:
    """A strip in pieces of so many columns; kernels and padding are square."""
    turned = _by_rows(
        lambda piece: group.module(piece.transpose(2, 3)).transpose(2, 3),
        x.transpose(2, 3),
        columns,
        group.stride,
        group.above_rows,
        group.below_rows,
    )
    return turned.transpose(2, 3)
