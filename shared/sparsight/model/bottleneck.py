"""The bottleneck: P3 as few small integers, and back.

    device   P3 [C, H/8, W/8] ─┬─ 2x2 stride 2 ──────────────────┬ + ─ / steps ─ round ─> latents
                               └─ 3x3 ─ ReLU ─ 2x2 stride 2 ─────┘     int8 [4, K, H/16, W/16]

    cloud    latents of the kept cells ─ * steps ─ 2x2 transposed ─ residual blocks ─> P3, as rows

A transform coder with the detector as its judge (design codec.md). The linear branch starts as the
principal components of P3's 2x2 blocks; the other learns what they leave. One model serves several
rates: a rate is a step size for each channel in each zone (`codec.zones`), and an input of the
exported graph. Steps are the bundle's (`Manifest.rates`), not the weights', so both halves use the
same numbers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn
from torch.nn import functional as F

from sparsight.model.sparse import AreaHolder, CellArea, CellConv2d
from sparsight.settings import CodecSettings

LATENT_LEVEL = 1
"""Latents lie at stride 16, where P4 does."""


class Analysis(nn.Module):
    """P3 to latents, not rounded yet; what the device runs."""

    def __init__(self, channels: int, codec: CodecSettings) -> None:
        """Of a P3 with so many channels."""
        super().__init__()
        self.linear = nn.Conv2d(channels, codec.channels, 2, 2)
        self.look = nn.Conv2d(channels, codec.hidden, 3, padding=1)
        self.refine = nn.Conv2d(codec.hidden, codec.channels, 2, 2)
        for p in (self.linear.bias, self.refine.weight, self.refine.bias):
            assert p is not None
            nn.init.zeros_(p)

    def forward(self, p3: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h2 w2"]:
        """P3 with even sides -> latents."""
        out: Tensor = self.linear(p3) + self.refine(F.relu(self.look(p3)))
        return out


class Residual(nn.Module):
    """Two 3x3 convolutions added to what they see, on kept cells."""

    def __init__(self, channels: int, hidden: int, holder: AreaHolder) -> None:
        super().__init__()
        self.widen = CellConv2d(channels, hidden, 3, holder=holder, bias=True)
        self.narrow = CellConv2d(hidden, channels, 3, holder=holder, bias=True)
        nn.init.zeros_(self.narrow.weight)
        assert self.narrow.bias is not None
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps or rows."""
        out: Tensor = x + self.narrow(F.relu(self.widen(x)))
        return out


class Synthesis(nn.Module):
    """Latents of the kept cells to P3; what the cloud runs."""

    def __init__(self, channels: int, codec: CodecSettings, holder: AreaHolder) -> None:
        """To a P3 with so many channels."""
        super().__init__()
        self.channels = channels
        self.holder = holder
        self.spread = nn.Linear(codec.channels, 4 * channels)
        self.blocks = nn.ModuleList(
            Residual(channels, codec.hidden, holder) for _ in range(codec.blocks)
        )
        assert self.spread.bias is not None
        nn.init.zeros_(self.spread.bias)

    def forward(self, latents: Float[Tensor, "n2 k"], area: CellArea) -> Float[Tensor, "n1 c 1 1"]:
        """Latents times their steps -> rows of P3.

        Args:
            latents: A row for each kept cell of stride 16.
            area: The kept area.
        """
        parent, corner = area.children(LATENT_LEVEL)
        four = self.spread(latents).view(-1, self.channels)
        x = four[parent * 4 + corner][:, :, None, None]
        with self.holder.keeping(area):
            for block in self.blocks:
                x = block(x)
        out: Tensor = x
        return out


class Bottleneck(nn.Module):
    """Both halves; `steps` are kept beside the weights (see the module)."""

    def __init__(self, channels: int, codec: CodecSettings, holder: AreaHolder) -> None:
        """For a P3 with so many channels."""
        super().__init__()
        self.analysis = Analysis(channels, codec)
        self.synthesis = Synthesis(channels, codec, holder)


def quantised(
    latents: Float[Tensor, "b k h w"], steps: Float[Tensor, "z k"]
) -> Int8[Tensor, "b z k h w"]:
    """Latents in units of each zone's steps, rounded half to even and clipped to a byte."""
    whole = (latents[:, None] / steps[:, :, None, None]).round()
    out: Tensor = whole.clamp(-128, 127).to(torch.int8)
    return out
