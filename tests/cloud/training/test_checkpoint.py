from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sparsight.errors import TrainingError
from sparsight_cloud.training.checkpoint import (
    Progress,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from sparsight_cloud.training.metrics import Means, append_metrics, drop_metrics_after

PROGRESS = Progress(7, 12.5, {"seed": 3, "boxes": 20})


def a_state(seed: int) -> tuple[nn.Module, dict[str, Tensor], torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimiser = torch.optim.AdamW(model.parameters())
    for _ in range(7):
        model(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimiser.step()
    ema = {k: v + 1 for k, v in model.state_dict().items() if v.is_floating_point()}
    return model, ema, optimiser


def test_everything_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "last.safetensors"
    model, ema, optimiser = a_state(0)
    save_checkpoint(file, model, ema, optimiser, PROGRESS)
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]
    fresh, fresh_ema, fresh_optimiser = a_state(1)
    progress = load_checkpoint(file, fresh, fresh_ema, fresh_optimiser, dict(PROGRESS.about))
    assert progress == PROGRESS
    for k, v in model.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[k], v)
    torch.testing.assert_close(fresh_ema, ema)
    for old, new in zip(model.parameters(), fresh.parameters(), strict=True):
        a, b = optimiser.state[old], fresh_optimiser.state[new]
        assert float(b["step"]) == 7
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(b[moment], a[moment])


def test_checkpoints_of_other_runs_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "last.safetensors"
    state = a_state(0)
    save_checkpoint(file, *state, PROGRESS)
    with pytest.raises(TrainingError, match="boxes was 20, is 21"):
        load_checkpoint(file, *state, {"seed": 3, "boxes": 21})
    other = nn.Sequential(nn.Conv2d(3, 5, 3))
    with pytest.raises(TrainingError, match="does not fit this model"):
        load_checkpoint(file, other, {}, torch.optim.AdamW(other.parameters()), {})


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "foreign", "missing"])
def test_damaged_and_foreign_files_are_refused(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "last.safetensors"
    save_checkpoint(file, *a_state(0), PROGRESS)
    whole = file.read_bytes()
    contents = {
        "cut": whole[: len(whole) // 2],
        "flipped": b"\xff" * 16 + whole[16:],
        "empty": b"",
        "text": b"no checkpoint",
    }
    if damage == "foreign":
        save_file({"weight": torch.zeros(3)}, file)
    elif damage == "missing":
        file.unlink()
    else:
        file.write_bytes(contents[damage])
    with pytest.raises(TrainingError, match=r"last\.safetensors: not a checkpoint"):
        read_checkpoint(file)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "last.safetensors"
    state = a_state(0)
    save_checkpoint(file, *state, PROGRESS)
    (tmp_path / "last.partial").mkdir()
    with pytest.raises(TrainingError, match="can't write the checkpoint"):
        save_checkpoint(file, *state, replace(PROGRESS, step=8))
    assert read_checkpoint(file)[0] == PROGRESS


def test_metrics_of_undone_steps_and_cut_lines_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    drop_metrics_after(file, 0)
    means = Means()
    for step in (20, 40, 60):
        means.add({"loss": step})
        means.add({"loss": step + 1})
        append_metrics(file, step, step / 2, means.take())
    with file.open("a") as f:
        f.write('{"step": 80, "elap')
    drop_metrics_after(file, 40)
    assert file.read_text() == (
        '{"step": 20, "elapsed_s": 10.0, "loss": 20.5}\n'
        '{"step": 40, "elapsed_s": 20.0, "loss": 40.5}\n'
    )
