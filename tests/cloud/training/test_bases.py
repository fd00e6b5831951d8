"""Every base that has a recipe: trained a little, shipped, opened, run whole and in patches."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import timm
import torch
from tests.smoke import assert_split_is_dense_where_all_is_kept, learned, squares

from sparsight.bundle import WEIGHTS, write_bundle
from sparsight.errors import TrainingError
from sparsight.model.detector import Detector, save_weights
from sparsight.pictures import read_picture
from sparsight.settings import DetectSettings
from sparsight.slicer import SlicerSettings
from sparsight_cloud.training.config import TrainConfig, load_config
from sparsight_cloud.training.pretrained import pretrained_state
from sparsight_cloud.training.step import batch_of
from sparsight_cloud.training.tasks import DetectorTask

ROOT = Path(__file__).resolve().parents[3]
MUNICH = ROOT / "samples" / "munich"
RECIPES = sorted((ROOT / "models" / "training" / "bases").glob("*.yaml"))
JOINED = {
    "convnext-atto",
    "efficientnet-lite0",
    "efficientnet-lite1",
    "mobilenetv4-small",
    "resnet18",
}
"""Bases whose deep stages work on cells, so that patches are computed joined."""


def recipe(file: Path) -> TrainConfig:
    """A recipe cut down to a test: no ImageNet weights, so everything learns."""
    config = load_config(file, changes={"steps": 6, "processes": 1})
    net = config.model.model_copy(
        update={"pretrained": "none", "freeze_below_stride": 1, "neck_channels": 16}
    )
    patches = config.patches.model_copy(update={"share": 1.0, "by_seeker": 0.0, "cells": (8,)})
    rate = 1e-3 if file.stem == "swin-tiny" else 3e-3
    optimiser = config.optimiser.model_copy(update={"lr": rate, "backbone_lr": rate})
    return config.model_copy(update={"model": net, "patches": patches, "optimiser": optimiser})


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_base_learns_ships_and_detects(file: Path, tmp_path: Path) -> None:
    config = recipe(file)
    torch.manual_seed(1)
    task = DetectorTask(config, ("square",), (), torch.device("cpu"), fresh=True)
    network = task.module
    assert network.trunk.joined == (file.stem in JOINED)
    samples = [squares(96, 3, seed) for seed in (1, 2)]
    batch = batch_of(samples, config.patches, np.random.default_rng(0), torch.device("cpu"))
    told = learned(task, batch)
    # The classes' targets are the boxes' IoUs: their term may rise at first as boxes get better.
    assert told[-1]["loss_seeker"] < 0.9 * told[0]["loss_seeker"], told
    assert min(t["loss_boxes"] for t in told) < 0.95 * told[0]["loss_boxes"], told
    for part in (network.stem, network.trunk):
        grads = [p.grad for p in part.parameters() if p.requires_grad and p.grad is not None]
        assert sum(float(g.abs().sum()) for g in grads) > 0

    detect = DetectSettings(
        long_side_px=128,
        mark=0.0,
        score_min=0.0,
        slicer=SlicerSettings(threshold=1e-3, min_gain=1e-3),
    )
    trained = Detector(network.eval(), detect)
    assert_split_is_dense_where_all_is_kept(trained.network)
    save_weights(trained.network, tmp_path / WEIGHTS)
    written = write_bundle(tmp_path, network.settings, detect, name="squares", card="squares")
    shipped = Detector.from_bundle(tmp_path)
    assert shipped.bundle_id == written.id
    picture = squares(128, 4, 3).image[:100]
    modes: tuple[Literal["split", "dense"], ...] = ("split", "dense")
    for mode in modes:
        run = dataclasses.replace(detect, mode=mode)
        for found in shipped.detect([picture, picture[:, :60]], run):
            xyxy = found.detections.xyxy
            assert len(xyxy) > 0, mode
            assert (xyxy[:, 2:] > xyxy[:, :2]).all()
            assert xyxy.min() >= 0
            assert (xyxy[:, 2] <= found.letterbox.frame_hw[1]).all()
            dense = shipped.gflops_dense(found.letterbox)
            assert 0 < found.gflops <= dense * 1.001 or not shipped.network.trunk.joined
    (before,) = trained.detect([picture], run)
    (after,) = shipped.detect([picture], run)
    # The weights lie in half precision in a bundle.
    np.testing.assert_allclose(after.heat, before.heat, atol=0.02)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_gives_pixels_as_its_weights_want_them(file: Path) -> None:
    config = load_config(file)
    wants = timm.get_pretrained_cfg(config.model.backbone)
    assert wants is not None
    assert (config.model.mean, config.model.std) == (wants.mean, wants.std)
    assert config.data.annotations.resolve().is_file()
    assert f"sparsight train models/training/bases/{file.name}" in file.read_text()
    assert str(wants.license).upper() in file.read_text().upper()
    if file.stem not in JOINED:
        assert config.patches.cells == (16,)


@pytest.mark.parametrize("which", ["efficientnet-lite0", "efficientnet-lite1"])
def test_packaged_weights_are_those_of_their_backbone(which: str) -> None:
    backbone = f"tf_{which.replace('-', '_')}"
    state = pretrained_state(which, backbone)
    assert state is not None
    net = timm.create_model(backbone)
    net.load_state_dict(state)
    # A net of the right weights in the right places is sure of what it sees, a stirred one is not.
    picture = read_picture(MUNICH / "MOS155.jpg")[:430, :430]
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        sure = net.eval()(torch.nn.functional.interpolate(x, (224, 224))).softmax(1).max()
    assert sure > 0.1
    with pytest.raises(TrainingError, match=f"{which} goes with backbone {backbone}, not resnet18"):
        pretrained_state(which, "resnet18")


def test_weights_that_timm_can_not_get_are_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    # As HF_HUB_OFFLINE=1 in the environment does, which is read when it is imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TrainingError, match=r"timm got no weights for resnet18.*pretrained: none"):
        pretrained_state("timm", "resnet18")
