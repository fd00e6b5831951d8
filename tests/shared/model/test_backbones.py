"""Backbones of other kinds: built, cut, trained a little, shipped and run."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from sparsight.bundle import WEIGHTS, write_bundle
from sparsight.errors import BundleError, UsageError
from sparsight.model.backbone import build_backbone
from sparsight.model.detector import Detector, save_weights
from sparsight.model.network import Network
from sparsight.model.sparse import AreaHolder
from sparsight.settings import DetectSettings, ModelSettings
from sparsight.slicer import SlicerSettings
from sparsight_cloud.training.config import DataConfig, PatchConfig, TrainConfig
from sparsight_cloud.training.samples import Sample
from sparsight_cloud.training.step import batch_of, losses_of

from .conftest import frame

NetworkOf = Callable[[str], Network]
LITE, SWIN = "tf_efficientnet_lite0", "swin_tiny_patch4_window7_224"


def squares(side: int, count: int, seed: int) -> Sample:
    """Bright squares on noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 120, (side, side, 3), np.uint8)
    wh = rng.integers(8, 24, (count, 1))
    xy = rng.integers(0, side - 24, (count, 2))
    boxes = np.concatenate([xy, xy + wh], 1)
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = 230
    none = np.zeros((0, 4), np.float32)
    return Sample(image, boxes.astype(np.float32), np.zeros(count, np.int64), none)


@pytest.mark.parametrize(
    ("backbone", "joined", "rate"),
    [
        (LITE, True, 3e-3),
        ("mobilenetv4_conv_small", True, 3e-3),
        (SWIN, False, 1e-3),
    ],
)
def test_trained_shipped_and_run(backbone: str, joined: bool, rate: float, tmp_path: Path) -> None:
    torch.manual_seed(1)
    settings = ModelSettings(backbone=backbone, classes=("square",), neck_channels=16)
    network = Network(settings).train()
    assert network.trunk.joined == joined
    config = TrainConfig(
        data=DataConfig(annotations=Path("none"), images=Path("none")), steps=1, processes=1
    )
    rng = np.random.default_rng(0)
    patches = PatchConfig(share=1.0, cells=(8,))
    samples = [squares(128, 3, seed) for seed in (1, 2)]
    batch = batch_of(samples, patches, rng, torch.device("cpu"))
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    terms = []
    for _ in range(4):
        losses = losses_of(network, batch, config)
        optimiser.zero_grad()
        losses.total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        terms.append([float(t.detach()) for t in (losses.seeker, losses.boxes, losses.classes)])
    assert np.isfinite(terms).all()
    # The classes' targets are the boxes' IoUs: their term may rise at first as boxes get better.
    fallen = np.array(terms[-1]) / terms[0]
    assert fallen[0] < 0.85, terms
    assert fallen[1] < 0.95, terms
    trunk = [p for p in network.trunk.parameters() if p.requires_grad]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trunk)

    detect = DetectSettings(
        long_side_px=192,
        mark=0.0,
        score_min=0.0,
        slicer=SlicerSettings(threshold=1e-3, min_gain=1e-3),
    )
    trained = Detector(network.eval(), detect)
    save_weights(trained.network, tmp_path / WEIGHTS)
    written = write_bundle(tmp_path, settings, detect, name="squares", card="squares on noise")
    shipped = Detector.from_bundle(tmp_path)
    assert shipped.bundle_id == written.id
    assert shipped.classes == ("square",)
    picture = frame(150, 200, 3)
    picture[40:60, 50:70] = 230
    modes: tuple[Literal["split", "dense"], ...] = ("split", "dense")
    for mode in modes:
        run = dataclasses.replace(detect, mode=mode)
        before, after = (d.detect([picture, picture[:, :90]], run) for d in (trained, shipped))
        for a, b in zip(before, after, strict=True):
            # The weights lie in half precision in a bundle.
            np.testing.assert_allclose(a.heat, b.heat, atol=0.02)
            assert len(b.detections) > 0, mode
            assert len(b.patches) > 0
            xyxy = b.detections.xyxy
            assert (xyxy[:, 2:] > xyxy[:, :2]).all()
            assert xyxy.min() >= 0
            assert (xyxy[:, 2] <= b.letterbox.frame_hw[1]).all()
            assert 0 < b.gflops <= shipped.gflops_dense(b.letterbox) * 1.001 or not joined


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_net", "timm can't build it"),
        ("vit_tiny_patch16_224", "expected maps at strides 8, 16 and 32, it has"),
        ("dla34", r"its map at stride 8 is \(16, 24\) cells"),
        ("efficientformerv2_s0", "expected a plain sequence of stages for pictures of any size"),
        ("hrnet_w18_small", "expected a plain sequence"),
        ("hiera_tiny_224", "expected a plain sequence"),
    ],
)
def test_backbones_that_do_not_fit_are_refused(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        build_backbone(name, AreaHolder())
    assert f"backbone {name!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "joined", "why"),
    [
        ("convnext_atto", True, "layer norms work on a cell"),
        ("repvgg_a0", True, "branches of 1x1 and 3x3"),
        ("convnextv2_atto", False, "global response norm, the identity at the start"),
        ("edgenext_xx_small", False, "attention behind a layer scale of 1e-6"),
        ("efficientnet_b0", False, "squeeze-and-excite"),
        ("resnet18d", False, "average pooling in the shortcut"),
        ("mobileone_s0", False, "depth-wise 1x1"),
        ("regnetx_002", False, "groups of channels"),
    ],
)
def test_what_mixes_cells_is_found_by_its_numbers(name: str, joined: bool, why: str) -> None:
    assert build_backbone(name, AreaHolder()).joined == joined, why


def test_norms_that_can_not_be_folded_stay_as_pretrained() -> None:
    # In a pre-activation net a norm follows a sum, not a convolution.
    torch.manual_seed(0)
    net = build_backbone("resnetv2_18", AreaHolder())
    whole = nn.Sequential(net.stem, *net.stages)
    x = torch.randn(2, 3, 64, 64)
    whole.eval()
    want = whole(x)
    whole.train()
    torch.testing.assert_close(whole(x), want)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in whole.modules())


def test_the_weights_of_another_model_are_refused() -> None:
    other = {"conv_stem.weight": torch.zeros(32, 3, 3, 3)}
    with pytest.raises(UsageError, match="the weights lack"):
        build_backbone(LITE, AreaHolder(), pretrained=other)
    wrong = {"conv_stem.weight": torch.zeros(7, 3, 3, 3)}
    with pytest.raises(UsageError, match="the weights are of another model"):
        build_backbone(LITE, AreaHolder(), pretrained=wrong)


def test_names_of_tensors_do_not_depend_on_the_weights() -> None:
    torch.manual_seed(0)
    a = build_backbone("resnet18", AreaHolder())
    torch.manual_seed(99)
    b = build_backbone("resnet18", AreaHolder())
    assert a.stem.state_dict().keys() == b.stem.state_dict().keys()
    assert a.stages.state_dict().keys() == b.stages.state_dict().keys()
    assert any(k.endswith("scale") for k in a.stages.state_dict())


def test_building_leaves_the_global_chance_alone() -> None:
    torch.manual_seed(5)
    build_backbone("repvgg_a0", AreaHolder())
    first = torch.rand(1)
    torch.manual_seed(5)
    build_backbone("repvgg_a0", AreaHolder())
    assert torch.equal(torch.rand(1), first)


def test_weights_that_do_not_fit_the_model_are_refused(
    network_of: NetworkOf, tmp_path: Path
) -> None:
    network = network_of(LITE)
    network.fold()
    save_weights(network, tmp_path / WEIGHTS)
    other = network.settings.model_copy(update={"neck_channels": 24})
    write_bundle(tmp_path, other, DetectSettings(), name="wrong", card="c")
    with pytest.raises(BundleError, match=r"cloud\.safetensors: does not fit model\.yaml"):
        Detector.from_bundle(tmp_path)
