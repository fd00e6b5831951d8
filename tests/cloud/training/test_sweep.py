"""Ranges of settings: what they may be, what is drawn, and what comes of it in a configuration."""

from pathlib import Path

import pytest
import typer

from sparsight.cli import run
from sparsight.errors import TrainingError, UsageError
from sparsight_cloud.commands.tune import tune
from sparsight_cloud.training.config import load_config, write_config
from sparsight_cloud.training.sweep import Range, draws

from .scenes import write_config as write_squares


def test_ranges_are_read() -> None:
    assert Range.parse("optimiser.lr=1e-4:3e-3:log") == Range("optimiser.lr", (1e-4, 3e-3), "log")
    assert Range.parse("crop.mosaic=0:0.5").kind == "even"
    assert Range.parse("batch=2,4").values == (2, 4)
    assert Range.parse("seeker_loss=bce").values == ("bce",)


@pytest.mark.parametrize(
    "text", ["lr", "=1", "lr=", "lr=1:2:3", "lr=a:b", "lr=2:1", "lr=0:1:log", "lr=0:inf", "lr=1:2:"]
)
def test_what_is_no_range_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        Range.parse(text)


def test_draws_stay_inside_and_come_again() -> None:
    ranges = [Range.parse(t) for t in ("a=1e-4:1e-2:log", "b=0:0.5", "c=2,4,8")]
    drawn = draws(ranges, 200, seed=3)
    assert drawn == draws(ranges, 200, seed=3) != draws(ranges, 200, seed=4)
    assert all(1e-4 <= one["a"] <= 1e-2 and 0 <= one["b"] <= 0.5 for one in drawn)
    assert {one["c"] for one in drawn} == {2, 4, 8}
    assert 80 < sum(one["a"] < 1e-3 for one in drawn) < 120  # evenly in the logarithm


def test_settings_with_dots_reach_a_configuration_and_its_file(tmp_path: Path) -> None:
    file = write_squares(tmp_path)
    config = load_config(file, changes={"optimiser.lr": 0.002, "batch": 4})
    assert (config.optimiser.lr, config.batch) == (0.002, 4)
    assert config.optimiser.warmup_steps == 5  # the file's others stay
    with pytest.raises(TrainingError, match=r"optimiser\.rate: no such key"):
        load_config(file, changes={"optimiser.rate": 0.002})
    write_config(config, tmp_path / "best.yaml", "the best")
    assert (tmp_path / "best.yaml").read_text().startswith("# the best\n")
    assert load_config(tmp_path / "best.yaml") == config


def test_values_that_are_cut_by_commas_are_told() -> None:
    with pytest.raises(UsageError, match=r"--set: expected .* got 'crop\.scale=\[0\.5,1\]'"):
        Range.parse("crop.scale=[0.5,1]")


def test_a_best_that_train_would_refuse_is_told_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(tune)
    file = write_squares(tmp_path, processes=2, batch=4)
    for given, told in (
        ("slices=1,2", "slices: expected a multiple of processes (2), got 1"),
        ("processes=1,2", "--set processes: a trial's is given"),
    ):
        out = str(tmp_path / "out")
        assert run(app, [str(file), "--set", given, "--trials", "8", "--out", out]) != 0
        assert told in capsys.readouterr().err
