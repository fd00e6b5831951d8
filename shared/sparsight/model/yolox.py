"""CSPDarknet as YOLOX has it, so that its checkpoints can be gone on from.

    image ─ stem (6x6, stride 2) ─ dark2 ─ dark3 ─> P3 ─ dark4 ─> P4 ─ dark5, pyramid of pools ─> P5

Modules and tensors have the names of Megvii's checkpoints below `backbone.backbone.`. One thing
differs: YOLOX's first layer sorts pixels into twelve channels by the parity of their place and runs
a 3x3 over them, which is a 6x6 of stride 2 over three channels in other words, and has the same
numbers; strips, ONNX and TensorRT have nothing to reorder then.

YOLOX: Exceeding YOLO Series in 2021 (arXiv 2107.08430); Megvii-BaseDetection/YOLOX, Apache-2.0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

NORM_EPS = 1e-3
POOLS = (5, 9, 13)


@dataclass(frozen=True, slots=True)
class YoloxSize:
    """What tells one YOLOX from another.

    Attributes:
        width: Channels behind the first layer.
        depth: Residual blocks of dark2; dark3 and dark4 have three times as many.
        depthwise: Whether 3x3 convolutions are a depth-wise one and a 1x1.
    """

    width: int
    depth: int
    depthwise: bool = False


YOLOX: Mapping[str, YoloxSize] = {
    "yolox_nano": YoloxSize(16, 1, depthwise=True),
    "yolox_tiny": YoloxSize(24, 1),
    "yolox_s": YoloxSize(32, 1),
    "yolox_m": YoloxSize(48, 2),
    "yolox_l": YoloxSize(64, 3),
    "yolox_x": YoloxSize(80, 4),
}


class CspDarknet(nn.Module):
    """The backbone.

    Attributes:
        feature_info: Where P3, P4 and P5 come from, as timm's backbones tell it.
    """

    def __init__(self, size: YoloxSize) -> None:
        """Of a size, untrained."""
        super().__init__()
        w, n, dw = size.width, size.depth, size.depthwise
        first = _Conv(3, w, 6, 2, padding=2)
        self.stem = nn.Sequential(OrderedDict(conv=first))
        self.dark2 = nn.Sequential(_conv(w, 2 * w, 2, dw), _Csp(2 * w, n, dw))
        self.dark3 = nn.Sequential(_conv(2 * w, 4 * w, 2, dw), _Csp(4 * w, 3 * n, dw))
        self.dark4 = nn.Sequential(_conv(4 * w, 8 * w, 2, dw), _Csp(8 * w, 3 * n, dw))
        self.dark5 = nn.Sequential(
            _conv(8 * w, 16 * w, 2, dw), _Pools(16 * w), _Csp(16 * w, n, dw, shortcut=False)
        )
        maps = [
            {"num_chs": w << (i - 1), "reduction": 1 << i, "module": f"dark{i}"} for i in (3, 4, 5)
        ]
        self.feature_info = FeatureInfo(maps, (0, 1, 2))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Pixels -> P3, P4 and P5."""
        maps = [self.dark3(self.dark2(self.stem(x)))]
        for stage in (self.dark4, self.dark5):
            maps.append(stage(maps[-1]))
        return maps


class _Conv(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        pad = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, pad, groups=groups, bias=False)
        # Norms are folded before training, so nothing else keeps a fresh net's maps at size one.
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        self.bn = nn.BatchNorm2d(c_out, eps=NORM_EPS)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


def _conv(c_in: int, c_out: int, stride: int, depthwise: bool) -> nn.Module:
    """A 3x3, or what the smallest YOLOX has in its place."""
    if not depthwise:
        return _Conv(c_in, c_out, 3, stride)
    own = _Conv(c_in, c_in, 3, stride, groups=c_in)
    return nn.Sequential(OrderedDict(dconv=own, pconv=_Conv(c_in, c_out, 1)))


class _Block(nn.Module):
    """1x1, 3x3, and around them."""

    def __init__(self, channels: int, depthwise: bool, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = _Conv(channels, channels, 1)
        self.conv2 = _conv(channels, channels, 1, depthwise)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x))
        return out + x if self.shortcut else out


class _Csp(nn.Module):
    """Half of the channels go through blocks, half around them."""

    def __init__(self, channels: int, blocks: int, depthwise: bool, shortcut: bool = True) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = _Conv(channels, half, 1)
        self.conv2 = _Conv(channels, half, 1)
        self.conv3 = _Conv(channels, channels, 1)
        self.m = nn.Sequential(*(_Block(half, depthwise, shortcut) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], 1))
        return out


class _Pools(nn.Module):
    """The largest values around each cell, at three sizes, beside the cell's own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = _Conv(channels, half, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(side, 1, side // 2) for side in POOLS)
        self.conv2 = _Conv(half * (1 + len(POOLS)), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        out: Tensor = self.conv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))
        return out
