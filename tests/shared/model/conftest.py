"""Networks that are small to run and whose every number matters."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from sparsight.model.detector import Detector
from sparsight.model.network import Network
from sparsight.settings import DetectSettings, ModelSettings

LITE = "tf_efficientnet_lite0"


@torch.no_grad()
def stirred(backbone: str = LITE, classes: int = 3) -> Network:
    """A network whose norms are no identity and whose logits differ from cell to cell."""
    torch.manual_seed(3)
    names = tuple("abcdefgh"[:classes])
    network = Network(ModelSettings(backbone=backbone, classes=names, neck_channels=16))
    for name, p in network.named_parameters():
        if name.endswith(("scale", "norm.weight")):
            p.uniform_(0.7, 1.3)
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None:
            assert m.running_var is not None
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 2)
    nn.init.normal_(network.head.classes.predict.weight, std=1.0)
    nn.init.normal_(network.head.boxes.predict.weight, std=0.2)
    network.head.scales.copy_(torch.tensor([0.8, 1.0, 1.2]))
    return network.eval()


_built: dict[str, Network] = {}


@pytest.fixture
def network_of() -> Callable[[str], Network]:
    """Stirred networks by backbone; the test may change what it gets."""

    def get(backbone: str = LITE) -> Network:
        if backbone not in _built:
            _built[backbone] = stirred(backbone)
        return copy.deepcopy(_built[backbone])

    return get


@pytest.fixture
def network(network_of: Callable[[str], Network]) -> Network:
    return network_of(LITE)


@pytest.fixture
def detector(network: Network) -> Detector:
    return Detector(network, DetectSettings(long_side_px=256, score_min=0.02))


def frame(height: int, width: int, seed: int = 0) -> UInt8[np.ndarray, "h w 3"]:
    """Noise of several scales; no two places look alike."""
    rng = np.random.default_rng(seed)
    out = rng.uniform(0, 80, (height, width, 3))
    for step in (4, 16, 64):
        rough = rng.uniform(0, 60, (-(-height // step), -(-width // step), 3))
        out += rough.repeat(step, 0).repeat(step, 1)[:height, :width]
    return out.clip(0, 255).astype(np.uint8)


class ToldSeeker(nn.Module):
    """Says what it was told, frame after frame, cut to the size of the frame's map."""

    def __init__(self, *heats: Float32[np.ndarray, "_ _"]) -> None:
        super().__init__()
        self.heats = list(heats)
        self.calls = 0

    def forward(self, p3: Tensor) -> Tensor:
        heat = torch.zeros(p3.shape[2:])
        told = torch.from_numpy(self.heats[self.calls % len(self.heats)])
        told = told[: heat.shape[0], : heat.shape[1]]
        heat[: told.shape[0], : told.shape[1]] = told
        self.calls += 1
        return torch.logit(heat, eps=1e-6)[None]


def heat_at(*cells_yx: tuple[int, int], size: int = 32) -> Float32[np.ndarray, "_ _"]:
    """Heat of objects of one cell."""
    heat = np.zeros((size, size), np.float32)
    for y, x in cells_yx:
        heat[y, x] = 0.9
    return heat
