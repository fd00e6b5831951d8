"""A batch in slices: one process that accumulates, two that share, and mixed precision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sparsight.errors import TrainingError
from sparsight.model.network import Network
from sparsight_cloud.training.checkpoint import read_checkpoint
from sparsight_cloud.training.config import TrainConfig, load_config
from sparsight_cloud.training.loop import CHECKPOINT, METRICS, Loop
from sparsight_cloud.training.run import run_training

from .scenes import Notebook, a_run, draw_set, write_config

CPU = torch.device("cpu")
OPTIMISER = {"lr": 1e-3, "backbone_lr": 5e-4, "warmup_steps": 5, "ema": 0.9}


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_set(tmp_path_factory.mktemp("set") / "set")


def rows_of(config: TrainConfig) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (config.out / METRICS).read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "elapsed_s"} for row in rows]


def test_two_processes_end_exactly_as_one_that_accumulates(squares: Path) -> None:
    changes = {"steps": 20, "batch": 4, "optimiser": OPTIMISER}
    one, sampler = a_run(squares, out="one", processes=1, slices=2, **changes)
    run_training(one, sampler, Notebook())
    two, sampler = a_run(squares, out="two", processes=2, **changes)
    run_training(two, sampler, Notebook())
    assert rows_of(one) == rows_of(two)
    a, b = (read_checkpoint(c.out / CHECKPOINT)[1] for c in (one, two))
    assert [k for k in a if not torch.equal(a[k], b[k]) and "num_batches" not in k] == []


def test_statistics_of_norms_are_those_of_all_slices(squares: Path) -> None:
    config, sampler = a_run(squares, processes=1, slices=2, batch=4)
    apart = []
    for part in (0, 1):
        # As two processes, each with its own slice.
        loop = Loop(part, 2, config.model_copy(update={"slices": 2}), sampler, CPU)
        assert isinstance(loop.task.module, Network)
        loop.backward(3)
        before = loop.task.module.seeker.norm.running_mean
        assert before is not None
        assert before.abs().sum() == 0  # as it was, until all have met
        apart.append(loop.exchange._norms.clone())
    loop = Loop(0, 1, config, sampler, CPU)
    loop.backward(3)
    torch.testing.assert_close(loop.exchange._norms, apart[0] + apart[1])
    loop.exchange.reduce(None)
    assert isinstance(loop.task.module, Network)
    mean = loop.task.module.seeker.norm.running_mean
    assert mean is not None
    assert mean.abs().sum() > 0


def test_slices_that_cannot_be_shared_are_told(squares: Path) -> None:
    for changes, told in (
        ({"slices": 3, "batch": 4}, r"batch: expected a multiple of slices \(3\), got 4"),
        ({"slices": 3, "processes": 2}, r"slices: expected a multiple of processes \(2\), got 3"),
        ({"amp": "bfloat16", "stage": "joint"}, "amp: expected auto or off with `stage: joint`"),
    ):
        with pytest.raises(TrainingError, match=told):
            load_config(write_config(squares, **changes))


def test_mixed_precision_learns_as_full_precision_does(squares: Path) -> None:
    changes = {"steps": 20, "batch": 4, "optimiser": OPTIMISER}
    full, sampler = a_run(squares, out="full", **changes)
    run_training(full, sampler, Notebook())
    mixed, sampler = a_run(squares, out="mixed", amp="bfloat16", **changes)
    run_training(mixed, sampler, Notebook())
    (a,), (b,) = rows_of(full), rows_of(mixed)
    for name in ("loss_classes", "loss_boxes", "loss_seeker"):
        assert b[name] == pytest.approx(a[name], rel=0.05)
        assert b[name] != a[name]
    network = Loop(0, 1, mixed, sampler, CPU).task.module
    assert {p.dtype for p in network.parameters()} == {torch.float32}
