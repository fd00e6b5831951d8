"""What a detector on a base costs, counted on the network itself (`sparsight.model.cost`).

name ─ Network, random weights ─┬─ parameters, P3 channels, joined or alone
                                ├─ Cost ─> GFLOPs of device, dense frame, split frame
                                └─ `trial`, if asked for ─> exports? builds?
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sparsight.model.cost import Cost
from sparsight.model.network import Network
from sparsight.settings import CodecSettings, ModelSettings
from sparsight.slicer import SlicerSettings

BASES = (
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "mobilenetv4_conv_small",
    "resnet18",
    "convnext_atto",
    "repvit_m0_9",
    "efficientvit_b0",
    "swin_tiny_patch4_window7_224",
    "yolox_nano",
    "yolox_s",
)
"""Those with a recipe in models/training/bases, the default first, and two to import."""

OCCUPANCIES = (0.1, 0.2, 0.3, 0.4)

CLASSES = 10
"""Of the detector that is counted: as many as VisDrone has."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A base in numbers.

    Attributes:
        backbone: Its name.
        joined: Whether patches are computed joined, as cells; if not, each by itself.
        parameters: Of the whole detector without its codec.
        device_parameters: Of stem and seeker.
        p3_channels: Channels of the stem's map.
        device_gflops: Stem and seeker on the frame, multiply-adds times two.
        dense_gflops: Every part on the whole frame.
        split_gflops: The frame at each of `OCCUPANCIES`, the head at every kept cell.
    """

    backbone: str
    joined: bool
    parameters: int
    device_parameters: int
    p3_channels: int
    device_gflops: float
    dense_gflops: float
    split_gflops: tuple[float, ...]


def network_on(backbone: str) -> Network:
    """An untrained detector of two halves on a base, all else as by default.

    Raises:
        UsageError: timm doesn't know the backbone, or it can't be cut.
    """
    classes = tuple(f"class {i}" for i in range(CLASSES))
    network = Network(ModelSettings(backbone=backbone, classes=classes, codec=CodecSettings()))
    network.fold()
    return network


def figures_of(network: Network, cells_hw: tuple[int, int]) -> Figures:
    """Count a network.

    Args:
        network: Folded.
        cells_hw: P3 cells of the frame.
    """
    cost, patch_hw = Cost.of(network), SlicerSettings().patch_hw
    device = _parameters(network.stem) + _parameters(network.seeker)
    cloud = sum(_parameters(part) for part in (network.trunk, network.neck, network.head))
    return Figures(
        network.settings.backbone,
        network.trunk.joined,
        device + cloud,
        device,
        network.stem.channels,
        cost.device_gflops(cells_hw),
        cost.dense_gflops(cells_hw),
        tuple(cost.gflops_at(cells_hw, share, patch_hw) for share in OCCUPANCIES),
    )


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
