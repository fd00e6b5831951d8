"""A small bundle of two halves, untrained but with an opinion: for tests from end to end."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from sparsight.bundle import EDGE, TABLES, WEIGHTS, Manifest, Rate, write_bundle
from sparsight.model.bottleneck import Residual
from sparsight.model.detector import save_weights
from sparsight.model.export import export_edge
from sparsight.model.network import Network
from sparsight.settings import CodecSettings, DetectSettings, ModelSettings
from sparsight.slicer import SlicerSettings
from sparsight_cloud.training.codec_bundle import learn_tables, seen_frames

LONG_SIDE_PX = 256
CHANNELS = 8
STEPS = (0.5, 1.0, 2.0)
"""Of zone 0 at each rate."""

ZONE_STEPS = (1.0, 1.5, 2.5, 4.0)
"""Steps of each zone, in those of zone 0."""
DETECT = DetectSettings(
    long_side_px=LONG_SIDE_PX,
    mark=0.5,
    halo=3,
    slicer=SlicerSettings(patch_hw=(8, 8), threshold=0.6, min_gain=0.7),
)


def scene(seed: int, hw: tuple[int, int] = (144, 256)) -> UInt8[np.ndarray, "h w 3"]:
    """Coloured rectangles on noise."""
    rng = np.random.default_rng(seed)
    frame = rng.integers(80, 150, (*hw, 3), np.uint8)
    for _ in range(8):
        y, x = (int(rng.integers(0, side - 16)) for side in hw)
        h, w = rng.integers(6, 20, 2)
        frame[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return frame


@torch.no_grad()
def write_split_bundle(
    folder: Path,
    seed: int = 3,
    detect: DetectSettings = DETECT,
    backbone: str = "mobilenetv2_035",
) -> Manifest:
    """Write the bundle."""
    torch.manual_seed(seed)
    settings = ModelSettings(
        backbone=backbone,
        neck_channels=16,
        classes=("red", "blue", "green"),
        codec=CodecSettings(channels=CHANNELS, hidden=16, blocks=1),
    )
    network = Network(settings)
    nn.init.normal_(network.head.classes.predict.weight, std=1.0)
    nn.init.normal_(network.head.boxes.predict.weight, std=0.2)
    assert network.bottleneck is not None
    for block in network.bottleneck.synthesis.blocks:
        assert isinstance(block, Residual)
        nn.init.normal_(block.narrow.weight, std=0.05)
    network.fold()
    images = [torch.from_numpy(scene(i)).permute(2, 0, 1)[None] for i in range(4)]
    p3 = torch.cat([network.stem(image) for image in images])
    heat = network.seeker.act(network.seeker.norm(network.seeker.look(p3)))
    nn.init.normal_(network.seeker.tell.weight, std=1.0)
    assert network.seeker.tell.bias is not None
    network.seeker.tell.bias.zero_()
    told = network.seeker.tell(heat)
    network.seeker.tell.weight *= 2.0 / told.std()
    network.seeker.tell.bias.fill_(float(-2.0 * told.mean() / told.std()) - 1.5)
    network.bottleneck.analysis.linear.weight *= 4.0 / network.bottleneck.analysis(p3).std()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.half().float())
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / WEIGHTS)
    export_edge(network, folder / EDGE)
    zones = torch.tensor(STEPS)[:, None] * torch.tensor(ZONE_STEPS)
    steps = zones[..., None].repeat(1, 1, CHANNELS)
    frames = [scene(i) for i in range(8)]
    learn_tables(*seen_frames(network, detect, steps, frames), steps).save(folder / TABLES)
    rates = tuple(Rate(steps=tuple(tuple(zone) for zone in rate)) for rate in steps.tolist())
    return write_bundle(folder, settings, detect, name="split", card="# split\n", rates=rates)
