"""A bundle is the start of a run: the same answers, its norms back, classes matched by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sparsight.bundle import WEIGHTS, open_bundle, write_bundle
from sparsight.errors import BundleError, TrainingError
from sparsight.model.detector import Detector, save_weights
from sparsight.model.network import Network
from sparsight.settings import DetectSettings, ModelSettings
from sparsight_cloud.training.export import bundle_from_checkpoint
from sparsight_cloud.training.loop import CHECKPOINT, Loop
from sparsight_cloud.training.run import run_training
from sparsight_cloud.training.step import Batch, batch_of, cut_by_seeker
from sparsight_cloud.training.tasks import train_mode
from sparsight_cloud.training.warm import start_from_bundle

from .scenes import SMALL, Notebook, a_run, draw_set

CPU = torch.device("cpu")


@pytest.fixture
def given_bundle(tmp_path: Path) -> Path:
    """A bundle whose every norm matters."""
    draw_set(tmp_path / "set")
    torch.manual_seed(3)
    settings = ModelSettings(
        backbone=str(SMALL["backbone"]), neck_channels=16, classes=("red", "blue")
    )
    network = Network(settings)
    with torch.no_grad():
        for m in network.modules():
            if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None:
                assert m.running_var is not None
                m.weight.uniform_(0.3, 3)
                m.bias.normal_(0, 0.3)
                m.running_mean.normal_(0, 0.1)
                m.running_var.uniform_(0.5, 2)
        nn.init.normal_(network.head.boxes.predict.weight, std=0.05)
    network.fold()
    folder = tmp_path / "bundle"
    folder.mkdir()
    save_weights(network, folder / WEIGHTS)
    write_bundle(folder, settings, DetectSettings(long_side_px=192), name="s", card="s")
    return folder


def some(folder: Path, batches: int = 4) -> list[Batch]:
    config, sampler = a_run(folder)
    rng = np.random.default_rng(7)
    return [
        batch_of([sampler.draw(rng) for _ in range(2)], config.patches, rng, CPU)
        for _ in range(batches)
    ]


def test_the_network_answers_as_the_bundle_does(given_bundle: Path, tmp_path: Path) -> None:
    given = Detector.from_bundle(given_bundle).network
    torch.manual_seed(11)
    network = Network(given.settings)
    batches = some(tmp_path / "set")
    start_from_bundle(network, given_bundle, batches)
    network.eval()
    image = batches[0].image
    with torch.no_grad():
        for a, b in zip(given(image), network(image), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


def test_its_norms_are_set_up_to_train_on(given_bundle: Path, tmp_path: Path) -> None:
    given = Detector.from_bundle(given_bundle).network
    network = Network(given.settings)
    (batch,) = some(tmp_path / "set", batches=1)
    start_from_bundle(network, given_bundle, [batch])
    # In training a norm goes by the batch: by the very one it was set up with, it gives the same.
    train_mode(network)
    with torch.no_grad():
        p3, heat = given.look(batch.image)
        keep, _ = cut_by_seeker(batch, heat)
        for a, b in zip(given.detect(p3, keep), network.detect(p3, keep), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


def test_classes_are_matched_by_name(given_bundle: Path, tmp_path: Path) -> None:
    given = Detector.from_bundle(given_bundle).network
    settings = given.settings.model_copy(update={"classes": ("blue", "green")})
    network = Network(settings)
    green = network.head.classes.predict.weight[1].detach().clone()
    start_from_bundle(network, given_bundle, some(tmp_path / "set"))
    predict, other = network.head.classes.predict, given.head.classes.predict
    blue = given.settings.classes.index("blue")
    torch.testing.assert_close(predict.weight[0], other.weight[blue])
    torch.testing.assert_close(predict.weight[1], green)


def test_a_run_starts_from_it_once(given_bundle: Path, tmp_path: Path) -> None:
    model = {**SMALL, "start": str(given_bundle)}
    config, sampler = a_run(tmp_path / "set", model=model, steps=4, out="second")
    assert config.model.start == given_bundle
    run_training(config, sampler, Notebook())
    (given_bundle / "manifest.json").unlink()  # what goes on is the checkpoint
    longer, sampler = a_run(tmp_path / "set", model=model, steps=6, out="second")
    assert run_training(longer, sampler, Notebook()).steps == 6
    (config.out / CHECKPOINT).unlink()
    with pytest.raises(BundleError, match="no bundle here"):
        Loop(0, 1, longer, sampler, CPU)


def test_the_clouds_part_learns_alone(given_bundle: Path, tmp_path: Path) -> None:
    model = {**SMALL, "start": str(given_bundle), "learn": "cloud"}
    config, sampler = a_run(tmp_path / "set", model=model, steps=4, out="cloud")
    run_training(config, sampler, Notebook())
    manifest = open_bundle(given_bundle).manifest
    bundle_from_checkpoint(
        config.out / CHECKPOINT,
        tmp_path / "b",
        name="b",
        card="b",
        detect=manifest.detect_settings(),
    )
    before = Detector.from_bundle(given_bundle).network.state_dict()
    after = Detector.from_bundle(tmp_path / "b").network.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"trunk", "neck", "head"}


def test_a_bundle_of_another_make_is_refused(given_bundle: Path, tmp_path: Path) -> None:
    own = Detector.from_bundle(given_bundle).network.settings
    other = Network(ModelSettings(backbone=own.backbone, neck_channels=24, classes=own.classes))
    with pytest.raises(TrainingError, match=r"has neck_channels 16, this run 24; make them equal"):
        start_from_bundle(other, given_bundle, some(tmp_path / "set"))
