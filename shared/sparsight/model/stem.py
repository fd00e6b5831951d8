"""The stem: the whole frame to P3, in strips that fit the cache.

    image [B, 3, H, W] ─ normalise ─ group ─ group ─ ... ─> P3 [B, C, H/8, W/8]

        a group:   ┌─ strip ─┐                             ┌─ strip ─┐
                   │  strip  │ expand, depth-wise, project │  strip  │
                   └─ strip ─┘  wide maps: one strip high  └─ strip ─┘

The widest maps of a stem are inside its blocks (96 channels at stride 2: 127 MB for one 1536x864
frame), and a CPU spends its time moving them. Each group of units therefore runs on strips of
rows with just the halo that its own convolutions need: wide maps never leave the cache. On one
core that is 3.3 times faster than whole maps, with a fraction of the memory and the same numbers
(docs/LOG.md, 2026-11-22). A group that isn't local (attention, squeeze-and-excite) runs whole; a
probe at the first call decides. Where strips end is no part of the model.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsight.model.sparse import CellConv2d

STRIP_BYTES = 3 << 20
"""Size of a strip's widest map: measured fastest with 1 MB of second-level cache a core."""

HALO_ROWS_MAX = 48
"""A group that needs more rows above and below would compute most of them twice."""


class Normalise(nn.Module):
    """Pixels in [0, 255] -> what the pretrained backbone was trained on."""

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        """Of channels whose values in [0, 1] have this mean and deviation."""
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1) * 255, persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Bytes or floats, [B, 3, H, W]."""
        return (image.float() - self.mean) / self.std


@dataclass(frozen=True, slots=True)
class _Group:
    module: nn.Sequential
    stride: int
    above_rows: int
    below_rows: int
    bytes_per_px: float
    local: bool


class Stem(nn.Module):
    """The dense part of the detector.

    Attributes:
        normalise: From pixels to the first unit's input.
        units: Modules that follow each other.
        channels: Channels of P3.
        nhwc: Whether the units' maps are channels-last in their shape.
    """

    def __init__(
        self, units: nn.Sequential, channels: int, normalise: Normalise, *, nhwc: bool = False
    ) -> None:
        """A stem of a backbone's first units."""
        super().__init__()
        self.normalise = normalise
        self.units = units
        self.channels = channels
        self.nhwc = nhwc
        self._plans: dict[int, tuple[_Group, ...]] = {}

    def freeze_below(self, stride: int) -> int:
        """Freeze the units whose output is finer than this stride; they run without gradient.

        Returns:
            How many units that is.
        """
        x = torch.zeros(1, 3, 64, 64, device=self.normalise.mean.device)
        frozen = 0
        with torch.no_grad():
            for i, unit in enumerate(self.units):
                x = unit(x)
                if 64 // (x.shape[1] if self.nhwc else x.shape[2]) < stride:
                    frozen = i + 1
        for unit in self.units[:frozen]:
            unit.requires_grad_(False)
        return frozen

    def forward(self, image: Tensor) -> Float[Tensor, "b c h8 w8"]:
        """Pixels in [0, 255], [B, 3, H, W] with sides that are multiples of 32 -> P3."""
        if not torch.is_grad_enabled():
            x = self._in_strips(image, len(self.units))
        else:
            frozen = len(list(itertools.takewhile(_is_frozen, self.units)))
            with torch.no_grad():
                x = self._in_strips(image, frozen)
            x = self.units[frozen:](x)
        return x.permute(0, 3, 1, 2) if self.nhwc else x

    def _in_strips(self, image: Tensor, last: int) -> Tensor:
        """The first units, strip by strip where that gives the same numbers."""
        units = [self.normalise, *self.units[:last]]
        if self.nhwc:
            whole: Tensor = nn.Sequential(*units)(image)
            return whole
        if last not in self._plans:
            self._plans[last] = _plan(units, image.device)
        x = image
        for group in self._plans[last]:
            x = _run(group, x)
        return x


def _is_frozen(unit: nn.Module) -> bool:
    return not any(p.requires_grad for p in unit.parameters())


def _plan(units: list[nn.Module], device: torch.device) -> tuple[_Group, ...]:
    """Join units so that groups end where maps are narrow, and measure each on a probe."""
    probe = torch.rand(1, 3, 128, 64, device=device) * 255
    starts, x, width = [0], probe, 0
    for i, unit in enumerate(units):
        x = unit(x)
        pointwise = not any(isinstance(m, nn.Conv2d | nn.MaxPool2d) for m in unit.modules())
        if i > 1 and not pointwise and x.shape[1] >= width:
            starts.append(i)
        width = x.shape[1]
    groups, x = [], probe
    for start, end in itertools.pairwise([*starts, len(units)]):
        group = _measure(nn.Sequential(*units[start:end]), x)
        groups.append(group)
        x = group.module(x)
    return tuple(groups)


def _measure(module: nn.Sequential, x: Tensor) -> _Group:
    above, below, widest = 0, 0, 0.0

    def note(m: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
        nonlocal above, below, widest
        assert isinstance(m, nn.Conv2d | nn.MaxPool2d)
        kernel, stride, pad = (_first(v) for v in (m.kernel_size, m.stride, m.padding))
        pad = m.pad_before if isinstance(m, CellConv2d) else pad
        jump = x.shape[2] // max(1, args[0].shape[2])
        above += pad * jump
        below += max(0, kernel - stride - pad) * jump
        widest = max(widest, 4.0 * y.numel() / (x.shape[2] * x.shape[3]))

    spatial = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    hooks = [m.register_forward_hook(note) for m in spatial]
    y = module(x)
    for hook in hooks:
        hook.remove()
    s = x.shape[2] // y.shape[2]
    group = _Group(module, s, -(-above // s) * s, -(-below // s) * s, widest, local=True)
    same = above + below <= HALO_ROWS_MAX and torch.allclose(
        _strips(group, x, rows=8 * s), y, rtol=1e-4, atol=1e-5 * float(y.abs().max())
    )
    return group if same else _Group(module, s, 0, 0, 0.0, local=False)


def _first(value: int | str | tuple[int, ...]) -> int:
    assert not isinstance(value, str)
    return value if isinstance(value, int) else value[0]


def _run(group: _Group, x: Tensor) -> Tensor:
    if not group.local:
        out: Tensor = group.module(x)
        return out
    rows = int(STRIP_BYTES / max(1.0, group.bytes_per_px * x.shape[0] * x.shape[3]))
    rows = max(rows, 4 * (group.above_rows + group.below_rows), 2 * group.stride)
    return _strips(group, x, rows // group.stride * group.stride)


def _strips(group: _Group, x: Tensor, rows: int) -> Tensor:
    height, stride = x.shape[2], group.stride
    out: Tensor | None = None
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        a, b = max(0, top - group.above_rows), min(height, bottom + group.below_rows)
        y = group.module(x[:, :, a:b])
        if out is None:
            out = torch.empty(
                (y.shape[0], y.shape[1], height // stride, y.shape[3]),
                dtype=y.dtype,
                device=y.device,
                memory_format=torch.channels_last,
            )
        first = (top - a) // stride
        out[:, :, top // stride : bottom // stride] = y[
            :, :, first : first + (bottom - top) // stride
        ]
    assert out is not None
    return out
