"""Codec and deep part together: what learns, what stays, and the bundle that comes of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.split import CHANNELS, DETECT, STEPS, write_split_bundle

from sparsight.bundle import MANIFEST, TABLES, open_bundle, write_bundle
from sparsight.codec.payload import decode, encode
from sparsight.codec.zones import ZONES
from sparsight.errors import TrainingError
from sparsight.model.cloud_half import Arrived, CloudHalf
from sparsight.model.detector import Detector
from sparsight.pictures import read_picture
from sparsight_cloud.training.bottleneck import BOTTLENECK, fingerprint
from sparsight_cloud.training.codec_bundle import codec_bundle
from sparsight_cloud.training.joint import NETWORK, JointTask
from sparsight_cloud.training.loop import CHECKPOINT, Loop
from sparsight_cloud.training.run import run_training

from .scenes import SMALL, Notebook, a_run

CPU = torch.device("cpu")


def changes(start: Path, **model: object) -> dict[str, object]:
    """What makes the run of `scenes` a joint one."""
    return {
        "stage": "joint",
        "model": {**SMALL, "start": str(start), "learn": "cloud", **model},
        "codec": {"lambdas": [0.001, 0.01, 0.1], "start_bits": [1, 1, 1]},
        "optimiser": {"lr": 1e-3, "backbone_lr": 1e-3, "warmup_steps": 1, "ema": 0.5},
        "crop": {"long_side_px": 256, "side_px": 128},
        "steps": 6,
    }


@pytest.fixture(scope="module")
def built(squares: Path, split_bundle: Path) -> Path:
    """The bundle of a short run."""
    config, sampler = a_run(squares, **changes(split_bundle))
    assert run_training(config, sampler, Notebook()).finished
    frames = [read_picture(file) for file in sorted((squares / "images").iterdir())]
    codec_bundle(
        config.out / CHECKPOINT,
        split_bundle,
        squares / "built",
        name="x",
        card="x",
        detect=DETECT,
        frames=frames,
    )
    return squares / "built"


def test_stem_and_seeker_stay_and_the_rest_learns(built: Path, split_bundle: Path) -> None:
    after, before = (Detector.from_bundle(folder).network for folder in (built, split_bundle))
    for part in ("stem.", "seeker."):
        assert fingerprint(after, part) == fingerprint(before, part)
    for part in ("trunk.", "neck.", "head."):
        assert fingerprint(after, part) != fingerprint(before, part)
    mine, theirs = after.state_dict(), before.state_dict()
    assert any(not torch.equal(mine[k], theirs[k]) for k in mine if k.startswith(BOTTLENECK))


def test_each_rate_has_steps_for_each_zone(built: Path, split_bundle: Path) -> None:
    rates, start = (open_bundle(folder).manifest.rates for folder in (built, split_bundle))
    steps, before = (np.array([rate.steps for rate in r]) for r in (rates, start))
    assert steps.shape == (len(STEPS), ZONES, CHANNELS)
    assert (steps != before).any((1, 2)).all()
    np.testing.assert_allclose(steps, before, rtol=0.3)  # a few steps don't take them far


def test_all_of_a_detector_learns_from_a_teacher_of_its_own(
    squares: Path, split_bundle: Path, tmp_path: Path
) -> None:
    write_split_bundle(tmp_path / "teacher", seed=5)
    teacher = Detector.from_bundle(tmp_path / "teacher").network
    config, sampler = a_run(
        squares,
        **changes(split_bundle, learn="all", teacher=str(tmp_path / "teacher")),
        patches={"halo": 2, "by_seeker": 1.0, "thresholds": [0.2, 0.4]},
        out="all",
    )
    task = Loop(0, 1, config, sampler, CPU).task
    assert isinstance(task, JointTask)
    assert fingerprint(task.teacher) == fingerprint(teacher)
    assert run_training(config, sampler, Notebook()).finished
    folder, frames = squares / "all-built", [read_picture(squares / "images" / "0.png")]
    codec_bundle(
        config.out / CHECKPOINT,
        split_bundle,
        folder,
        name="x",
        card="x",
        detect=replace(DETECT, halo=2),
        frames=frames,
    )
    after, before = (Detector.from_bundle(one) for one in (folder, split_bundle))
    for part in ("stem.", "seeker.", "trunk.", "neck.", "head."):
        assert fingerprint(after.network, part) != fingerprint(before.network, part)
    assert after.settings == replace(before.settings, halo=2)


def test_its_halves_say_what_it_says_in_one_process(built: Path, squares: Path) -> None:
    detector, half = Detector.from_bundle(built), CloudHalf.from_bundle(built)
    frame = read_picture(squares / "images" / "0.png")
    (result,) = detector.detect([frame], replace(detector.settings, rate=1))
    assert result.payload_bytes is not None
    assert detector.codec is not None
    from sparsight_edge.model import EdgeModel

    model = EdgeModel.load(built, rate=1)
    payload = model.code(model.engine.run(model.fit(frame)[1], 1), 1).payload
    assert len(payload) == result.payload_bytes
    coded = decode(payload, half.codec.tables)
    assert encode(coded, half.codec.tables, half.manifest.cloud_id) == payload
    (found,) = half.run([Arrived(coded, result.letterbox)])
    np.testing.assert_allclose(found.xyxy, result.detections.xyxy, atol=0.01)
    np.testing.assert_allclose(found.scores, result.detections.scores, atol=1e-4)


def test_the_start_is_what_the_bundle_says(squares: Path, split_bundle: Path) -> None:
    config, sampler = a_run(squares, **changes(split_bundle), out="begun")
    task = Loop(0, 1, config, sampler, CPU).task
    assert isinstance(task, JointTask)
    assert task.about["stage"] == "joint"
    network, given = task.together.network, Detector.from_bundle(split_bundle).network
    assert given.bottleneck is not None and network.bottleneck is not None
    mine, theirs = network.bottleneck.state_dict(), given.bottleneck.state_dict()
    assert all(torch.equal(mine[k], theirs[k]) for k in theirs)
    frame = torch.from_numpy(read_picture(squares / "images" / "0.png"))
    image = frame.permute(2, 0, 1)[None].float()
    with torch.no_grad():
        p3, heat = given.look(image)
        mine_p3, mine_heat = network.look(image)
    torch.testing.assert_close(mine_p3, p3, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(mine_heat, heat, rtol=1e-3, atol=1e-3)
    names = {k for k, p in task.module.named_parameters() if p.requires_grad}
    assert {"log_steps", "prior.location"} <= names
    assert not {k for k in names if k.startswith((NETWORK + "stem.", NETWORK + "seeker."))}


def test_it_goes_on_from_the_codec_of_another_bundle(
    squares: Path, split_bundle: Path, tmp_path: Path
) -> None:
    plain = shutil.copytree(split_bundle, tmp_path / "plain")
    detector = Detector.from_bundle(split_bundle)
    (plain / MANIFEST).unlink()
    (plain / TABLES).unlink()
    write_bundle(
        plain, detector.network.settings, detector.settings, name="plain", card="x", rates=()
    )
    config, sampler = a_run(squares, **changes(plain), out="without")
    with pytest.raises(TrainingError, match="has no codec to go on from"):
        Loop(0, 1, config, sampler, CPU)
    config, sampler = a_run(squares, **changes(plain, codec=str(split_bundle)), out="with")
    assert isinstance(Loop(0, 1, config, sampler, CPU).task, JointTask)


def test_what_can_not_start_says_why(squares: Path, split_bundle: Path) -> None:
    config, sampler = a_run(squares, **{**changes(split_bundle), "model": SMALL}, out="none")
    with pytest.raises(TrainingError, match=r"model\.start: expected the bundle that goes on"):
        Loop(0, 1, config, sampler, CPU)
    two = {"lambdas": [0.1, 0.2], "start_bits": [1, 1]}
    config, sampler = a_run(squares, **{**changes(split_bundle), "codec": two}, out="two")
    with pytest.raises(TrainingError, match=r"codec\.lambdas: expected 3, one for each rate"):
        Loop(0, 1, config, sampler, CPU)
