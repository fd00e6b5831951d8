"""The neck: a small path-aggregation network over the kept area.

    P5 ── 1x1 ──────────┬───────────────> + ─ 3x3 ─> N5
                        up                │ down
    P4 ── 1x1 ── + ─────┘─ 3x3 ──┬──────> + ─ 3x3 ─> N4
                                 up       │ down
    P3 ── 1x1 ── + ──────────────┘─ 3x3 ──┴────────> N3

PANet (arXiv 1803.01534, §3.1) with sums for concatenations: at 64 channels the sums lose nothing
that could be measured and halve the GEMMs. Works on whole maps and on kept cells alike (`sparse`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsight.model.sparse import AreaHolder, CellConv2d


class ConvNormAct(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, *, level: int, holder: AreaHolder
    ) -> None:
        super().__init__()
        self.conv = CellConv2d(c_in, c_out, kernel, stride, holder=holder, level=level)
        self.norm: nn.Module = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Maps or rows."""
        return F.relu(self.norm(self.conv(x)), inplace=not torch.is_grad_enabled())

    def fold(self) -> None:
        """Put the norm into the convolution; for inference only."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv.weight, self.conv.bias = folded(self.conv, self.norm)
            self.norm = nn.Identity()


def folded(conv: CellConv2d, norm: nn.BatchNorm2d) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of a convolution with the norm behind it folded in."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.weight * torch.rsqrt(norm.running_var + norm.eps)).detach()
    weight = conv.weight.detach() * scale[:, None, None, None]
    return nn.Parameter(weight), nn.Parameter(norm.bias.detach() - norm.running_mean * scale)


class Neck(nn.Module):
    """Joins the three levels."""

    def __init__(
        self, channels_in: tuple[int, int, int], channels: int, holder: AreaHolder
    ) -> None:
        """A neck.

        Args:
            channels_in: Channels of P3, P4 and P5.
            channels: Channels of N3, N4 and N5.
            holder: Names the area to compute.
        """
        super().__init__()
        self.holder = holder
        self.channels_in = channels_in

        def conv(kernel: int, level: int, stride: int = 1, c_in: int = channels) -> ConvNormAct:
            return ConvNormAct(c_in, channels, kernel, stride, level=level, holder=holder)

        self.lateral = nn.ModuleList(conv(1, i, c_in=c) for i, c in enumerate(channels_in))
        self.top_down = nn.ModuleList(conv(3, i) for i in range(2))
        self.down = nn.ModuleList(conv(3, i, 2) for i in range(2))
        self.bottom_up = nn.ModuleList(conv(3, i + 1) for i in range(2))

    def forward(self, p3: Tensor, p4: Tensor, p5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """P3, P4, P5 -> N3, N4, N5, as maps or as rows."""
        t3, t4, t5 = (f(p) for f, p in zip(self.lateral, (p3, p4, p5), strict=True))
        t4 = self.top_down[1](t4 + self._up(t5, 2))
        n3 = self.top_down[0](t3 + self._up(t4, 1))
        n4 = self.bottom_up[0](t4 + self.down[0](n3))
        n5 = self.bottom_up[1](t5 + self.down[1](n4))
        return n3, n4, n5

    def _up(self, x: Tensor, level: int) -> Tensor:
        area = self.holder.now
        if area is not None:
            return area.upsample(x, level)
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
