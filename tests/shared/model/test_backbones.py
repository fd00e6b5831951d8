"""Backbones of other kinds: built, cut, refused. `test_bases.py` of training trains some."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from sparsight.bundle import WEIGHTS, write_bundle
from sparsight.errors import BundleError, UsageError
from sparsight.model.backbone import build_backbone
from sparsight.model.detector import Detector, save_weights
from sparsight.model.network import Network
from sparsight.model.sparse import AreaHolder
from sparsight.settings import DetectSettings

NetworkOf = Callable[[str], Network]
LITE, SWIN = "tf_efficientnet_lite0", "swin_tiny_patch4_window7_224"


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
