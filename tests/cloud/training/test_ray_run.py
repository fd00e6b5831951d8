"""Runs on Ray Train: the curve of one process, whoever dies; a wish to stop; what can't go on.

One private cluster serves all of them.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from tests.cloud.serving.processes import descendants, name_of

from sparsight.errors import TrainingError, UsageError
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.training.checkpoint import read_checkpoint
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.finetune import held_out
from sparsight_cloud.training.loop import CHECKPOINT, METRICS, Loop, Moment
from sparsight_cloud.training.metrics import read_metrics
from sparsight_cloud.training.ray_run import CHECKPOINTS, run_on_ray
from sparsight_cloud.training.ray_tune import RUNGS, Judgement, sweep
from sparsight_cloud.training.ray_worker import Desk, Job, _fetch, train_loop
from sparsight_cloud.training.run import run_training

from .scenes import Notebook, a_run, draw_set

# Ray's, about itself, when it looks at its own settings.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OPTIMISER = {"lr": 1e-3, "backbone_lr": 5e-4, "warmup_steps": 5, "ema": 0.9}

TOLERANCE = 1e-4
"""Of a loss, relative, and of the average's distance from that of one process over the way that
training went. With two workers, whose gradients have one sum in any order, both are 0."""


@pytest.fixture(scope="module", autouse=True)
def ray_cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # the controller looks so often
        cluster = RayCluster(cpus=3, with_serve=False)
        cluster.connect()
        yield
        cluster.disconnect()


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_set(tmp_path_factory.mktemp("set") / "set")


def losses(config: TrainConfig) -> list[dict[str, float]]:
    """The curve: steps and losses of each row of the metrics file."""
    rows = read_metrics(config.out / METRICS)
    return [{k: v for k, v in row.items() if k == "step" or k.startswith("loss_")} for row in rows]


def averages(config: TrainConfig) -> torch.Tensor:
    tensors = read_checkpoint(config.out / CHECKPOINT, "ema/")[1]
    return torch.cat([v.flatten() for v in tensors.values()])


def a_worker() -> int:
    """The process of one of the workers that this process's cluster started."""
    return next(pid for pid in descendants() if "TrainWorker" in name_of(pid))


class Killer(Notebook):
    """Kills a worker once a checkpoint is committed; counts how often the run began."""

    def __init__(self, checkpoints: Path) -> None:
        super().__init__()
        self.begins: list[int] = []
        self.killed = False
        self._committed = checkpoints / "checkpoint_manager_snapshot.json"

    def begin(self, moment: Moment) -> None:
        super().begin(moment)
        self.begins.append(moment.step)

    def step(self, moment: Moment) -> None:
        super().step(moment)
        if not self.killed and self._committed.exists():
            self.killed = True
            os.kill(a_worker(), signal.SIGKILL)


def test_two_workers_one_of_them_killed_end_like_one_process(squares: Path) -> None:
    changes = {"steps": 60, "batch": 4, "optimiser": OPTIMISER, "checkpoint_s": 0.5}
    one, sampler = a_run(squares, out="one", processes=1, slices=2, **changes)
    run_training(one, sampler, Notebook())
    two, sampler = a_run(squares, out="two", processes=2, **changes)
    killer, said = Killer(two.out / CHECKPOINTS), list[str]()
    outcome = run_on_ray(two, sampler.dataset, killer, said.append)
    assert (outcome.steps, outcome.finished) == (60, True)
    assert killer.killed
    first, second = killer.begins
    assert first == 0 < second < 60
    assert said == ["a worker was lost; all start again"]
    assert [row["step"] for row in losses(two)] == [20, 40, 60]
    for got, want in zip(losses(two), losses(one), strict=True):
        assert got == pytest.approx(want, rel=TOLERANCE)
    fresh, sampler = a_run(squares, out="fresh", processes=1, slices=2, batch=4)
    begun = Loop(0, 1, fresh, sampler, torch.device("cpu")).ema
    start = torch.cat([v.flatten() for v in begun.values()])
    way = torch.linalg.vector_norm(averages(one) - start)
    assert torch.linalg.vector_norm(averages(two) - averages(one)) <= TOLERANCE * way


def test_a_run_goes_on_in_either_way(squares: Path) -> None:
    class Impatient(Notebook):
        def step(self, moment: Moment) -> None:
            super().step(moment)
            if len(self.moments) == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    changes = {"steps": 2, "optimiser": OPTIMISER, "checkpoint_s": 60.0, "out": "either"}
    config, sampler = a_run(squares, **changes)
    run_training(config, sampler, Notebook())

    storage, impatient = squares / "elsewhere" / "run", Impatient()
    longer = config.model_copy(update={"steps": 400})
    second = run_on_ray(longer, sampler.dataset, impatient, print, storage=storage.as_uri())
    assert impatient.begun is not None
    assert impatient.begun.step == 2
    assert not second.finished
    assert 2 < second.steps < 400
    assert len(list(storage.glob("checkpoint_20*"))) == 1

    plain, notebook = config.model_copy(update={"steps": second.steps + 2}), Notebook()
    assert run_training(plain, sampler, notebook).steps == second.steps + 2
    assert notebook.begun is not None
    assert notebook.begun.step == second.steps


def test_losses_without_weights_are_no_start(squares: Path, tmp_path: Path) -> None:
    from ray.train import Checkpoint

    config, sampler = a_run(squares, steps=1, out="committed")
    run_training(config, sampler, Notebook())
    # What a plain run leaves that is killed before its first checkpoint.
    _fetch(tmp_path, {METRICS: b"{}\n"}, Checkpoint.from_directory(config.out))
    assert read_checkpoint(tmp_path / CHECKPOINT, "none")[0].step == 1


def test_a_file_of_ray_is_whole_or_the_one_before(tmp_path: Path) -> None:
    from sparsight_cloud.training.ray_storage import file_system

    fs = pickle.loads(pickle.dumps(file_system(LocalFileSystem())))  # as workers get it
    place = tmp_path / "list.json"
    for text in (b"one", b"two"):
        with fs.open_output_stream(str(place)) as file:
            before = place.read_bytes() if place.exists() else None
            file.write(text)
            assert (place.read_bytes() if place.exists() else None) == before
        assert place.read_bytes() == text
    assert [one.name for one in tmp_path.iterdir()] == ["list.json"]


def test_what_no_start_mends_is_told(squares: Path) -> None:
    config, sampler = a_run(squares, out="foreign")
    other, _ = a_run(squares, out="foreign", seed=1)
    run_training(config.model_copy(update={"steps": 1}), sampler, Notebook())
    with pytest.raises(TrainingError, match=r"another run \(seed was 0, is 1\)"):
        run_on_ray(other, sampler.dataset, Notebook(), print, restarts=0)


def test_workers_that_start_after_such_an_error_end_at_once(squares: Path) -> None:
    import ray  # not before the cluster has told it what to read from the environment

    config, _ = a_run(squares, out="after")
    desk: Any = ray.remote(num_cpus=0)(Desk).remote()
    ray.get(desk.conclude.remote(TrainingError("gone")))
    ray.get(desk.conclude.remote(TrainingError("the second counts for nothing")))
    train_loop({"job": Job(config, None, None, desk)})
    assert str(ray.get(desk.end.remote())) == "gone"


def test_a_sweep_judges_trials_and_outlives_one_that_fails(squares: Path) -> None:
    config, sampler = a_run(squares, steps=8, out="sweep")
    wild = {**OPTIMISER, "lr": 1e30, "backbone_lr": 1e30, "warmup_steps": 0}
    bad, _ = a_run(squares, steps=8, out="sweep", optimiser=wild)
    dying = config.model_copy(update={"seed": "none"})  # no error of ours
    train, val = held_out(sampler.dataset, 0.3)
    told: list[Judgement] = []
    last = sweep(
        [config, bad, dying], train, val, squares / "sweep", told.append, concurrent=2, early=False
    )
    good, failed, died = last
    assert (good.trial, good.rung, good.step, good.failed) == (0, len(RUNGS), 8, "")
    assert [one.step for one in told if one.trial == 0] == [3, 5, 8]
    assert 0 <= good.ap <= 1
    assert failed.trial == 1
    assert "the gradient is not finite" in failed.failed
    assert (died.trial, died.rung) == (2, len(RUNGS))
    assert died.failed


def test_places_that_cannot_be_are_told(squares: Path) -> None:
    config, sampler = a_run(squares)
    for storage, told, kind in (
        ("memory://bucket", "a folder of this run's own", TrainingError),
        ("nowhere://a/b", "can't be opened", UsageError),
    ):
        with pytest.raises(kind, match=told):
            run_on_ray(config, sampler.dataset, Notebook(), print, storage=storage)
