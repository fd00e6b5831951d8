"""Runs as a whole: they learn, they can be killed, stopped and resumed, and say what went wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
import typer
from torch import Tensor, nn

from sparsight.cli import run
from sparsight.errors import TrainingError
from sparsight.model.detector import Detector
from sparsight.model.network import Network
from sparsight.pictures import read_picture
from sparsight.settings import DetectSettings
from sparsight_cloud.commands.train import train
from sparsight_cloud.training.board import Board
from sparsight_cloud.training.checkpoint import read_checkpoint
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.exchange import Word
from sparsight_cloud.training.export import averaged_network, bundle_from_checkpoint
from sparsight_cloud.training.loop import CHECKPOINT, METRICS, Loop, Moment
from sparsight_cloud.training.run import _group, alone_in, choose_device, run_training
from sparsight_cloud.training.samples import Sample, Sampler
from sparsight_cloud.training.tasks import train_mode

from .scenes import SMALL, Notebook, a_run, draw_set, write_config

CPU = torch.device("cpu")
THE_COMMAND = """
import sys, typer
from sparsight.cli import run
from sparsight_cloud.commands.train import train
app = typer.Typer()
app.command()(train)
sys.exit(run(app, sys.argv[1:]))
"""


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    return draw_set(tmp_path / "set")


def averages(config: TrainConfig) -> dict[str, Tensor]:
    return read_checkpoint(config.out / CHECKPOINT, "ema/")[1]


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return float(sum((a[k] - b[k]).square().sum() for k in a) ** 0.5)


def typed(*arguments: str) -> int:
    """The exit code of `sparsight train` in this process."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(train)
    return run(app, arguments)


def test_a_run_learns_its_pictures_and_leaves_a_bundle(squares: Path) -> None:
    config, sampler = a_run(squares, steps=60)
    notebook = Notebook()
    outcome = run_training(config, sampler, notebook)
    assert (outcome.steps, outcome.finished) == (60, True)
    assert notebook.begun == Moment(0, 0.0, 0.0, {})
    assert [m.step for m in notebook.moments] == list(range(1, 61))
    rows = [json.loads(line) for line in (config.out / METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows] == [20, 40, 60]
    for loss, falls_to in (("loss_classes", 0.75), ("loss_boxes", 0.95), ("loss_seeker", 0.7)):
        assert rows[-1][loss] < falls_to * rows[0][loss], loss

    detect = DetectSettings(long_side_px=192, mode="dense")
    checkpoint, folder = config.out / CHECKPOINT, config.out / "bundle"
    bundle_from_checkpoint(checkpoint, folder, name="squares", card="squares", detect=detect)
    shipped = Detector.from_bundle(folder)
    trained = Detector(averaged_network(checkpoint), detect)
    frame = read_picture(squares / "images" / "0.png")
    a, b = (d.detect([frame], detect)[0].detections for d in (shipped, trained))
    assert shipped.classes == ("red", "blue")
    assert a.scores[0] > 0.1
    np.testing.assert_allclose(a.scores[:4], b.scores[:4], atol=0.01)  # half precision


def step_of(checkpoint: Path) -> int:
    """Of one that is replaced meanwhile, which must not be opened twice, as its reader does."""
    copy = checkpoint.with_name("seen.safetensors")
    shutil.copyfile(checkpoint, copy)
    return read_checkpoint(copy, "none")[0].step


def test_killed_and_started_again_a_run_ends_as_if_nothing_had_happened(
    squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optimiser = {"lr": 1e-3, "backbone_lr": 5e-4, "warmup_steps": 5, "ema": 0.9}
    changes = {"steps": 14, "processes": 2, "optimiser": optimiser}
    file = write_config(squares, checkpoint_s=0.001, **changes)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    running = subprocess.Popen([sys.executable, "-c", THE_COMMAND, str(file)], env=environment)
    last = squares / "out" / CHECKPOINT
    while not (last.exists() and step_of(last) >= 4):
        assert running.poll() is None
        time.sleep(0.02)
    running.kill()
    running.wait()
    killed_at = read_checkpoint(last, "none")[0].step
    assert 4 <= killed_at < 14

    capsys.readouterr()
    assert typed(str(file), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["steps"], told["finished"]) == (14, True)
    assert (squares / "out" / "bundle" / "manifest.json").is_file()

    config, sampler = a_run(squares, out="straight", **changes)
    assert run_training(config, sampler, Notebook()).steps == 14
    straight = averages(config)
    resumed = read_checkpoint(last, "ema/")[1]
    start = {f"ema/{k}": v for k, v in Loop(0, 1, config, sampler, CPU).ema.items()}
    # Measured: 0; 0.004 with moments in bfloat16, 4 with other samples.
    ratio = apart(resumed, straight) / apart(start, straight)
    assert ratio < 1e-4


def test_ctrl_c_saves_and_a_finished_run_stays_finished(squares: Path) -> None:
    class Impatient(Notebook):
        def step(self, moment: Moment) -> None:
            super().step(moment)
            if moment.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    config, sampler = a_run(squares, steps=6, processes=2)
    before = signal.getsignal(signal.SIGINT)
    outcome = run_training(config, sampler, Impatient())
    assert (outcome.steps, outcome.finished) == (4, False)
    assert signal.getsignal(signal.SIGINT) == before
    for steps in (6, 6):
        notebook = Notebook()
        outcome = run_training(config, sampler, notebook)
        assert (outcome.steps, outcome.finished) == (steps, True)
    assert notebook.begun is not None
    assert notebook.begun.share == 1
    assert not notebook.moments


def test_a_person_who_stops_a_run_is_told_how_to_go_on(
    squares: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Board.step

    def impatient(self: Board, moment: Moment) -> None:
        step(self, moment)
        if moment.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Board, "step", impatient)
    file = str(write_config(squares, steps=5))
    assert typed(file, "--json") == 130
    told = capsys.readouterr()
    assert json.loads(told.out)["steps"] == 3
    assert not told.err
    assert typed(file, "--steps", "4", "--out", str(squares / "out")) == 0
    told = capsys.readouterr()
    assert "going on from step 3" in told.err
    assert "4 steps; bundle" in told.err
    assert "4 steps of 2 crops of 128 px" in (squares / "out/bundle/card.md").read_text()


def test_what_cannot_be_asked_for_is_told_at_once(
    squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_config(squares))
    for asked, told in (
        (["--steps", "1", "--minutes", "1"], "one of --minutes and --steps"),
        (["--eval-data", "a.json"], "--eval-data and --eval-images go together"),
        (["--address", "head:6379"], "--address and --storage are for --workers"),
    ):
        assert typed(file, *asked) == 2
        assert told in capsys.readouterr().err
    assert typed("no-recipe") == 6
    assert "one of the recipes" in capsys.readouterr().err


def test_the_clock_ends_a_run(squares: Path) -> None:
    config, sampler = a_run(squares, steps=None, minutes=0.02)
    notebook = Notebook()
    outcome = run_training(config, sampler, notebook)
    assert outcome.finished
    assert outcome.elapsed_s >= 1.2
    assert notebook.moments[-1].share == 1
    assert notebook.moments[0].share < 1


def _gradient(rank: int, meeting: Path, config: TrainConfig, sampler: Sampler) -> None:
    torch.set_num_threads(1)
    with _group(rank, 2, meeting):
        loop = Loop(rank, 2, config, sampler, CPU)
        loop.backward(5)
        values, word = loop.exchange.reduce(Word(100.0, save=True) if rank == 0 else None)
        told = (word.now_s, word.stop, word.save, values)
        torch.save((loop.exchange.gradients.clone(), told), meeting / f"{rank}.pt")
    os._exit(0)


def test_two_processes_take_the_step_of_the_averaged_gradient(squares: Path) -> None:
    config, sampler = a_run(squares, processes=2)
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder)
        context = mp.get_context("fork")
        helpers = [
            context.Process(target=_gradient, args=(rank, meeting, config, sampler))
            for rank in (0, 1)
        ]
        for p in helpers:
            p.start()
        for p in helpers:
            p.join(60)
        reduced, told = zip(*(torch.load(meeting / f"{rank}.pt") for rank in (0, 1)), strict=True)
    alone = []
    for rank in (0, 1):
        loop = Loop(rank, 2, config, sampler, CPU)
        loop.backward(5)
        alone.append(loop.exchange.gradients.clone())
    assert not torch.allclose(alone[0], alone[1], rtol=0.1, atol=1e-3)
    want = (alone[0] + alone[1]) / 2
    for got in reduced:
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    assert told[0] == told[1]
    assert told[0][:3] == (100.0, False, True)  # rank 0's clock and wishes


def test_a_process_that_dies_is_told(squares: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, sampler = a_run(squares, processes=2)
    parent, draw = os.getpid(), Sampler.draw

    def deadly(self: Sampler, rng: np.random.Generator) -> Sample:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(self, rng)

    def faulty(self: Sampler, rng: np.random.Generator) -> Sample:
        if os.getpid() != parent:
            raise TrainingError("0.png: gone")
        return draw(self, rng)

    monkeypatch.setattr(Sampler, "draw", deadly)
    with pytest.raises(TrainingError, match=r"process 1 was killed \(SIGKILL\); start again"):
        run_training(config, sampler, Notebook())
    monkeypatch.setattr(Sampler, "draw", faulty)
    with pytest.raises(TrainingError, match=r"process 1 ended: 0\.png: gone"):
        run_training(config, sampler, Notebook())


def test_a_gradient_that_is_not_finite_ends_the_run(squares: Path) -> None:
    optimiser = {"lr": 1e30, "backbone_lr": 1e30, "warmup_steps": 0}
    config, sampler = a_run(squares, optimiser=optimiser)
    with pytest.raises(TrainingError, match=r"step \d: the gradient is not finite; lower .*1e\+30"):
        run_training(config, sampler, Notebook())


def _occupy(folder: Path, ready: Any) -> None:
    with alone_in(folder):
        ready.set()
        time.sleep(60)


def test_two_runs_do_not_share_a_folder(squares: Path) -> None:
    config, sampler = a_run(squares)
    config.out.mkdir()
    context = mp.get_context("fork")
    ready = context.Event()
    other = context.Process(target=_occupy, args=(config.out, ready))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(TrainingError, match="another run is at work there"):
            run_training(config, sampler, Notebook())
    finally:
        other.kill()
        other.join()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {**SMALL, "backbone": "tf_efficientnet_lite0"}},
        {"model": {**SMALL, "backbone": "lcnet_050"}},  # squeeze-and-excite: patches run alone
        {"model": {**SMALL, "backbone": "pvt_v2_b0"}},  # a transformer
        {"seeker_loss": "focal_dice"},
    ],
)
def test_other_backbones_and_losses_train(squares: Path, changes: dict[str, Any]) -> None:
    config, sampler = a_run(squares, steps=3, **changes)
    notebook = Notebook()
    assert run_training(config, sampler, notebook).steps == 3
    network = averaged_network(config.out / CHECKPOINT)
    assert all(v.isfinite().all() for v in network.state_dict().values())


def test_batch_norms_of_the_backbone_that_stayed_keep_their_statistics(squares: Path) -> None:
    config, sampler = a_run(squares)
    network = Loop(0, 1, config, sampler, CPU).task.module
    assert isinstance(network, Network)
    stayed = nn.BatchNorm2d(network.stem.channels)
    network.trunk.stages.append(stayed)
    train_mode(network)
    assert not stayed.training
    assert network.seeker.norm.training


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    with pytest.raises(TrainingError, match="use auto or cpu"):
        choose_device("cuda")
