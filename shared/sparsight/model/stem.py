"""The stem: the whole frame to P3, in strips that fit the cache.

    image [B, 3, H, W] ─ group ─ group ─ ... ─> P3 [B, C, H/8, W/8]
             each group:  ┌ strip ┐ expand, depth-wise, project ┌ strip ┐
                          │ strip │ ──────────────────────────> │ strip │
                          └ strip ┘  wide maps exist strip-wise └ strip ┘

The widest maps of a stem are inside its blocks (96 channels at stride 2: 127 MB for one 1536x864 frame) and a CPU spends
its time moving them. Each group of units is therefore run on strips of rows with just the halo that its own convolutions need,
so wide maps never leave the cache: 3.3 times faster than whole maps on one core and a fraction of the memory (docs/LOG.md), the same
numbers. A group that isn't local (attention, squeeze-and-excite) runs whole; a probe at construction decides.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

STRIP_BYTES = 2 << 20
"""Size that the widest map of a strip may have: what measured fastest with 1 MB of second-level cache a core."""


@dataclass(frozen=True, slots=True)
class _Group:
    module: nn.Sequential
    stride: int
    halo_rows: int
    bytes_per_px: float
    local: bool


class Stem(nn.Module):
    """The dense part of the detector.

    Attributes:
        units: Modules that follow each other.
        channels: Channels of P3.
        nhwc: Whether the units' maps are channels-last in their shape.
    """

    def __init__(self, units: nn.Sequential, channels: int, *, nhwc: bool = False) -> None:
        super().__init__()
        self.units = units
        self.channels = channels
        self.nhwc = nhwc
        self._plans: dict[int, tuple[_Group, ...]] = {}

    def freeze_below(self, stride: int) -> int:
        """Freeze the units whose output is finer than this stride; they run without gradient.

        Returns:
            How many units that is.
        """
        x = torch.zeros(1, 3, 64, 64)
        frozen = 0
        with torch.no_grad():
            for i, unit in enumerate(self.units):
                x = unit(x)
                if 64 // (x.shape[1] if self.nhwc else x.shape[2]) < stride:
                    frozen = i + 1
        for unit in self.units[:frozen]:
            unit.requires_grad_(False)
        return frozen

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h8 w8"]:
        """Normalised image -> P3."""
        if not torch.is_grad_enabled():
            x = self.in_strips(image)
        else:
            frozen = len(list(itertools.takewhile(_is_frozen, self.units)))
            with torch.no_grad():
                x = self.in_strips(image, last=frozen)
            x = self.units[frozen:](x)
        return x.permute(0, 3, 1, 2) if self.nhwc else x

    def in_strips(self, x: Float[Tensor, "b c h w"], last: int | None = None) -> Tensor:
        """Run the first units, strip by strip where that gives the same numbers."""
        units = list(self.units)[:last]
        if self.nhwc:
            return nn.Sequential(*units)(x)
        if len(units) not in self._plans:
            self._plans[len(units)] = _plan(units, x)
        for group in self._plans[len(units)]:
            x = _run(group, x)
        return x


def _is_frozen(unit: nn.Module) -> bool:
    return not any(p.requires_grad for p in unit.parameters())


def _plan(units: list[nn.Module], like: Tensor) -> tuple[_Group, ...]:
    """Join units so that groups end where maps are narrow, and measure each on a probe."""
    x = torch.randn(1, like.shape[1], 128, 64, device=like.device)
    bounds: list[int] = [0] if units else []
    widths: list[int] = []
    y = x
    for unit in units:
        y = unit(y)
        widths.append(y.shape[1])
    for i in range(1, len(units)):
        pointwise = not any(isinstance(m, (nn.Conv2d, nn.MaxPool2d)) for m in units[i].modules())
        if not pointwise and widths[i] >= widths[i - 1]:
            bounds.append(i)
    groups = []
    for a, b in itertools.pairwise([*bounds, len(units)] if units else []):
        module = nn.Sequential(*units[a:b])
        group = _measure(module, x)
        y = module(x)
        if group.local:
            strip = _strips(group, x, rows=8 * group.stride)
            if not torch.allclose(strip, y, rtol=1e-4, atol=1e-5 * float(y.abs().max())):
                group = _Group(module, group.stride, 0, 0.0, local=False)
        groups.append(group)
        x = y
    return tuple(groups)


def _measure(module: nn.Sequential, x: Tensor) -> _Group:
    halo, widest = 0, 0.0

    def note(m: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
        nonlocal halo, widest
        jump = x.shape[2] // max(1, args[0].shape[2])
        kernel = m.kernel_size
        halo += (kernel if isinstance(kernel, int) else kernel[0]) // 2 * jump  # type: ignore[index,operator]
        widest = max(widest, 4.0 * y.numel() / (x.shape[2] * x.shape[3]))

    hooks = [
        m.register_forward_hook(note)
        for m in module.modules()
        if isinstance(m, (nn.Conv2d, nn.MaxPool2d))
    ]
    y = module(x)
    for h in hooks:
        h.remove()
    stride = x.shape[2] // y.shape[2]
    return _Group(
        module, stride, -(-halo // stride) * stride, widest, local=y.ndim == 4 and halo < 32
    )


def _run(group: _Group, x: Tensor) -> Tensor:
    if not group.local:
        out = group.module(x)
        assert isinstance(out, Tensor)
        return out
    rows = int(STRIP_BYTES / max(1.0, group.bytes_per_px * x.shape[0] * x.shape[3]))
    return _strips(
        group,
        x,
        rows=max(rows, 4 * group.halo_rows, 2 * group.stride) // group.stride * group.stride,
    )


def _strips(group: _Group, x: Tensor, rows: int) -> Tensor:
    height, stride = x.shape[2], group.stride
    out: Tensor | None = None
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        a, b = max(0, top - group.halo_rows), min(height, bottom + group.halo_rows)
        y = group.module(x[:, :, a:b])
        if out is None:
            shape = (y.shape[0], y.shape[1], height // stride, y.shape[3])
            out = torch.empty(
                shape, dtype=y.dtype, device=y.device, memory_format=torch.channels_last
            )
        out[:, :, top // stride : bottom // stride] = y[
            :, :, (top - a) // stride : (bottom - a) // stride
        ]
    assert out is not None
    return out
