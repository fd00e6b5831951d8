"""The bottleneck's training: where it starts, that it learns, and that a kill costs nothing."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from tests.split import CHANNELS, DETECT

from sparsight.bundle import CARD, EDGE, FORMAT, TABLES, WEIGHTS, open_bundle, write_bundle
from sparsight.cli import run
from sparsight.codec.payload import CodedFrame, decode, encode
from sparsight.errors import TrainingError
from sparsight.model.cloud_half import Arrived, CloudHalf
from sparsight.model.detector import Detector, FrameResult, save_weights
from sparsight.model.passes import Kept
from sparsight.model.sparse import CellArea
from sparsight.pictures import letterbox, read_picture
from sparsight_cloud.commands.bundle import build
from sparsight_cloud.commands.train import train
from sparsight_cloud.training.bottleneck import (
    BottleneckTask,
    Ways,
    _steps_for,
    answers_apart,
    fingerprint,
    with_bottleneck,
)
from sparsight_cloud.training.checkpoint import read_checkpoint
from sparsight_cloud.training.codec_bundle import Frame, codec_bundle
from sparsight_cloud.training.exchange import Word
from sparsight_cloud.training.loop import CHECKPOINT, Loop
from sparsight_cloud.training.prior import Prior
from sparsight_cloud.training.run import run_training

from .scenes import Notebook, a_run, draw_set, write_config

CPU = torch.device("cpu")
CODEC = {
    "channels": 12,
    "hidden": 8,
    "blocks": 1,
    "lambdas": [0.0005, 0.005, 0.05],
    "start_bits": [40.0, 20.0, 8.0],
}
STEPS = 14
THE_COMMAND = """
import sys, typer
from sparsight.cli import run
from sparsight_cloud.commands.train import train
app = typer.Typer()
app.command()(train)
sys.exit(run(app, sys.argv[1:]))
"""


def typed(command: Callable[..., None], *arguments: str) -> int:
    """The exit code of a command in this process."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    return run(app, arguments)


def changes(start: Path) -> dict[str, object]:
    """What makes the run of `scenes` one of a bottleneck."""
    return {
        "stage": "bottleneck",
        "patches": {"cells": [8, 12], "halo": DETECT.halo},
        "model": {"start": str(start)},
        "codec": CODEC,
        "optimiser": {"lr": 1e-3, "warmup_steps": 3, "ema": 0.9},
        "crop": {"long_side_px": 256, "side_px": 128},
        "steps": STEPS,
    }


@dataclass(frozen=True)
class Ran:
    """A run of the command that was killed once."""

    folder: Path
    file: Path
    killed_at: int

    @property
    def bundle(self) -> Path:
        return self.folder / "out" / "bundle"


@pytest.fixture(scope="module")
def ran(squares: Path, split_bundle: Path) -> Ran:
    file = write_config(squares, checkpoint_s=0.001, **changes(split_bundle))
    file = file.rename(squares / "ran.yaml")  # other tests write theirs in its place
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    last = squares / "out" / CHECKPOINT
    with subprocess.Popen([sys.executable, "-c", THE_COMMAND, str(file)], env=environment) as first:
        while not (last.exists() and read_checkpoint(last, "none")[0].step >= 4):
            assert first.poll() is None
            time.sleep(0.02)
        first.kill()
    killed_at = read_checkpoint(last, "none")[0].step
    assert typed(train, str(file), "--json") == 0
    return Ran(squares, file, killed_at)


def test_a_run_ends_in_a_bundle_of_two_halves(ran: Ran, split_bundle: Path) -> None:
    bundle = open_bundle(ran.bundle)
    assert bundle.manifest.format == FORMAT == 4
    assert set(bundle.manifest.sha256) >= {EDGE, TABLES, WEIGHTS}
    assert [rate.channels for rate in bundle.manifest.rates] == [12, 12, 12]
    means = [np.log(rate.steps).mean() for rate in bundle.manifest.rates]
    assert means == sorted(means)
    assert (ran.bundle / CARD).read_text() == (split_bundle / CARD).read_text()
    start = open_bundle(split_bundle).manifest
    assert bundle.manifest.detect_settings() == start.detect_settings()
    assert fingerprint(Detector.from_bundle(ran.bundle).network) == fingerprint(
        Detector.from_bundle(split_bundle).network
    )


def test_its_halves_say_what_it_says_in_one_process(ran: Ran) -> None:
    detector, half = Detector.from_bundle(ran.bundle), CloudHalf.from_bundle(ran.bundle)
    frame = read_picture(ran.folder / "images" / "0.png")
    sizes = []
    for rate in range(3):
        (result,) = detector.detect([frame], replace(detector.settings, rate=rate))
        sizes.append(result.payload_bytes or 0)
        coded = coded_by(detector, frame, result, rate)
        data = encode(coded, half.codec.tables, half.manifest.cloud_id)
        assert len(data) == sizes[-1]
        (found,) = half.run([Arrived(decode(data, half.codec.tables), result.letterbox)])
        np.testing.assert_allclose(found.xyxy, result.detections.xyxy, atol=0.01)
        np.testing.assert_allclose(found.scores, result.detections.scores, atol=1e-4)
    assert sizes[0] > sizes[1] > sizes[2] > 27


@torch.inference_mode()
def coded_by(detector: Detector, frame: Frame, result: FrameResult, rate: int) -> CodedFrame:
    """What a device would send."""
    assert detector.codec is not None
    image = torch.from_numpy(letterbox(frame, result.letterbox)).permute(2, 0, 1)[None]
    kept = Kept(result.patches, result.heat >= detector.settings.mark, detector.settings.halo)
    return detector.codec.code(detector.network.stem(image), kept, rate)


def test_killed_and_started_again_it_ends_as_if_nothing_had_happened(
    ran: Ran, split_bundle: Path
) -> None:
    assert 4 <= ran.killed_at < STEPS
    config, sampler = a_run(ran.folder, out="straight", **changes(split_bundle))
    assert run_training(config, sampler, Notebook()).steps == STEPS
    straight = read_checkpoint(config.out / CHECKPOINT, "ema/")[1]
    resumed = read_checkpoint(ran.folder / "out" / CHECKPOINT, "ema/")[1]
    shutil.rmtree(config.out)
    start = {f"ema/{k}": v for k, v in Loop(0, 1, config, sampler, CPU).ema.items()}

    def apart(a: dict[str, torch.Tensor]) -> float:
        return float(sum((a[k] - v).square().sum() for k, v in straight.items()) ** 0.5)

    # Moments are kept in bfloat16; other samples, rates or noise would show as a half and more.
    assert apart(resumed) < 0.05 * apart(start)


def test_a_build_at_any_time_gives_the_same_bundle(ran: Ran, tmp_path: Path) -> None:
    assert typed(build, str(ran.file), "--out", str(tmp_path / "again"), "--name", "out") == 0
    again, first = (open_bundle(folder).manifest for folder in (tmp_path / "again", ran.bundle))
    assert again.rates == first.rates
    assert again.sha256[WEIGHTS] == first.sha256[WEIGHTS]
    assert again.sha256[TABLES] == first.sha256[TABLES]


def test_a_slicer_of_its_own_is_not_to_be_had(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--out", str(tmp_path / "b"), "--threshold", "0.4")
    assert typed(build, str(ran.file), *asked) == 2
    assert "of the bundle that the run started from" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "b").exists()


def test_a_checkpoint_is_for_the_stem_that_it_codes(ran: Ran, tmp_path: Path) -> None:
    # The same settings, other weights: every number would be wrong and nothing would say so.
    other = tmp_path / "other"
    shutil.copytree(ran.bundle, other)
    detector = Detector.from_bundle(ran.bundle)
    with torch.no_grad():
        next(detector.network.stem.units.parameters()).mul_(1.5)
    rewrite(other, detector)
    checkpoint = ran.folder / "out" / CHECKPOINT
    with pytest.raises(TrainingError, match="was trained for the stem of another detector"):
        codec_bundle(
            checkpoint, other, tmp_path / "out", name="x", card="x", detect=DETECT, frames=[]
        )


def rewrite(folder: Path, detector: Detector) -> None:
    """Put other weights into a bundle."""
    manifest = open_bundle(folder).manifest
    save_weights(detector.network, folder / WEIGHTS)
    write_bundle(
        folder,
        detector.network.settings,
        detector.settings,
        name=manifest.name,
        card="x",
        rates=manifest.rates,
    )


def test_pictures_without_patches_make_no_tables(ran: Ran, split_bundle: Path) -> None:
    checkpoint = ran.folder / "out" / CHECKPOINT
    with pytest.raises(TrainingError, match="none of the pictures has a patch"):
        codec_bundle(
            checkpoint,
            split_bundle,
            ran.folder / "none",
            name="x",
            card="x",
            detect=DETECT,
            frames=[],
        )


def test_what_can_not_start_says_why(
    ran: Ran, split_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config, sampler = a_run(ran.folder, **{**changes(split_bundle), "model": {}})
    with pytest.raises(TrainingError, match=r"model\.start: expected the bundle"):
        Loop(0, 1, config, sampler, CPU)
    two = draw_set(tmp_path_factory.mktemp("two") / "set", pictures=1)
    config, sampler = a_run(two, **changes(split_bundle))
    with pytest.raises(TrainingError, match="knows red, blue, green, the data red, blue;"):
        Loop(0, 1, config, sampler, CPU)
    wide = {**CODEC, "channels": 65}
    config, sampler = a_run(ran.folder, **{**changes(split_bundle), "codec": wide, "out": "w"})
    with pytest.raises(TrainingError, match=r"codec\.channels: at most 64 for a P3 of 16 channels"):
        Loop(0, 1, config, sampler, CPU)


@pytest.fixture(scope="module")
def begun(squares: Path, split_bundle: Path) -> Loop:
    """A run at its beginning, with as many channels as there are components."""
    codec = {**CODEC, "channels": 64}
    config, sampler = a_run(squares, **{**changes(split_bundle), "codec": codec, "out": "begun"})
    return Loop(0, 1, config, sampler, CPU)


def test_it_starts_as_components_that_lose_nothing(begun: Loop) -> None:
    task = begun.task
    assert isinstance(task, BottleneckTask)
    bottleneck = task.trained.bottleneck
    batch = next(begun._first_batches())
    with torch.no_grad():
        p3, _ = task.network.look(batch.image)
        area = CellArea.of(torch.ones(p3.shape[0], *p3.shape[2:], dtype=torch.bool))
        latents = area.gather(bottleneck.analysis(p3), 1).flatten(1)
        rows = bottleneck.synthesis(latents, area)
    right = area.gather(p3)
    assert (rows - right).square().mean() < 1e-4 * right.var()
    deviations = latents.std(0)
    assert deviations[:4].mean() > 3 * deviations[-4:].mean()  # the strongest first


def test_only_the_bottleneck_learns(begun: Loop) -> None:
    before = {k: v.clone() for k, v in begun.task.module.state_dict().items()}
    task = begun.task
    assert isinstance(task, BottleneckTask)
    detector = fingerprint(task.network)
    values = [begun._step(i, 1.0, Word(0.0))[0] for i in range(3)]
    assert fingerprint(task.network) == detector
    after = begun.task.module.state_dict()
    still = [k for k in before if torch.equal(before[k], after[k])]
    # What lies behind a weight that begins as zero has no gradient in the first step.
    assert set(still) <= {"bottleneck.analysis.look.weight", "bottleneck.analysis.look.bias"}
    assert {"loss_distance", "loss_features", "bits_per_cell"} <= values[0].keys()
    rates = {k for v in values for k in v if k.startswith("bits_per_cell_")}
    assert rates <= {f"bits_per_cell_{i}" for i in range(3)}
    assert len(rates) > 1


@pytest.mark.parametrize("bits", [75.0, 40.0, 20.0])
def test_steps_begin_at_the_wanted_bits(bits: float) -> None:
    deviations = 20 / torch.arange(1, 33)
    step = _steps_for(deviations, bits)
    rng = torch.Generator().manual_seed(0)
    symbols = (torch.randn(20_000, 32, generator=rng) * deviations / step).round()
    spent = 0.0
    for column in symbols.T:
        share = column.unique(return_counts=True)[1] / len(column)
        spent -= float((share * share.log2()).sum())
    assert spent == pytest.approx(bits, rel=0.35)


def test_a_prior_is_a_distribution_over_integers() -> None:
    prior = Prior(torch.tensor([[0.3, 2.0, 9.0], [1.0, 1.0, 1.0]]))
    with torch.no_grad():
        prior.location.copy_(torch.tensor([[0.2, -3.0, 5.0], [0.0, 0.0, 0.0]]))
        whole = torch.arange(-100, 101.0)[:, None].expand(-1, 3)
        bits = prior.bits(whole, torch.zeros(201, dtype=torch.long))
    torch.testing.assert_close((2**-bits).sum(0), torch.ones(3), atol=1e-3, rtol=0)
    assert bits.argmin(0).tolist() == [100, 97, 105]
    far = prior.bits(torch.full((1, 3), 1e4), torch.ones(1, dtype=torch.long))
    assert far.max() < 20  # an outlier costs no more than the floor


def test_answers_are_apart_by_what_differs_where_something_was_sure() -> None:
    torch.manual_seed(0)
    keep = torch.ones(1, 8, 8, dtype=torch.bool)
    keep[:, 4:] = False
    cells = 64 + 16 + 4
    want = (torch.randn(1, cells, 2) * 2, torch.rand(1, cells, 4) * 20 + 4)
    same = answers_apart(want, want, keep)
    assert float(same) == pytest.approx(0, abs=1e-5)
    logits, boxes = want[0].clone(), want[1].clone()
    logits[:, 32:64] += 5  # cells that are not kept
    boxes[:, 32:64] *= 3
    assert float(answers_apart(want, (logits, boxes), keep)) == pytest.approx(0, abs=1e-5)
    logits[:, 0] += 1
    boxes[:, 1] *= 1.5
    by_class, by_box = ((logits, want[1]), (want[0], boxes))
    assert float(answers_apart(want, by_class, keep)) > 1e-3
    assert float(answers_apart(want, by_box, keep)) > 1e-4


def test_a_bundle_with_a_bottleneck_is_started_from_without_it(split_bundle: Path) -> None:
    given = Detector.from_bundle(split_bundle).network
    assert given.settings.codec is not None
    assert given.settings.codec.channels == CHANNELS
    fresh = with_bottleneck(split_bundle, given.settings.codec)
    assert fingerprint(fresh) == fingerprint(given)
    assert given.bottleneck is not None and fresh.bottleneck is not None
    assert not torch.equal(
        fresh.bottleneck.analysis.linear.weight, given.bottleneck.analysis.linear.weight
    )


def test_bits_are_counted_over_the_cells_of_patches_the_halo_s_among_them() -> None:
    keep = torch.zeros(2, 8, 12, dtype=torch.bool)
    keep[:, :4, :4] = True
    heat = torch.full((2, 8, 12), -9.0)
    heat[:, 1, 1] = 9.0
    ways = Ways.drawn(heat, keep, 0.5, 1, (1, 0), np.random.default_rng(0))
    # A field of 2x2 cells of the latents each, and of the first sample the three fields beside it.
    assert ways.zones.tolist().count(3) == 12 and len(ways.zones) == 4 + 12 + 4
    assert float(ways.a_cell(torch.ones(20))) == 20 / 8
    assert float(ways.a_cell(torch.ones(20), rate=0)) == 20 / 8
    assert float(ways.a_cell(torch.ones(20), rate=1)) == 0
