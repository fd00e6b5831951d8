"""A sweep on Ray Tune: trials side by side, the poor ones ended early.

    settings ─> trial: train to 1/4 ─ AP ─> to 1/2 ─ AP ─> to the end ─ AP ─> best settings
                              └───── ASHA: the worse half of those that came here ends ──┘

A trial is a plain run in one process with one thread, judged by AP on pictures that it was not
trained on. ASHA is asynchronous successive halving (Li et al., arXiv 1810.05934).
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from sparsight.errors import SparsightError, UsageError
from sparsight.model.detector import Detector
from sparsight.settings import DetectSettings
from sparsight_cloud.batch.ray_flow import quiet
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.classes import match_classes
from sparsight_cloud.evaluation.run import run_evaluation
from sparsight_cloud.serving.ray_cluster import RayCluster, one_line
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.export import averaged_network
from sparsight_cloud.training.loop import CHECKPOINT, Loop, Moment
from sparsight_cloud.training.ray_run import cause
from sparsight_cloud.training.run import choose_device, threads
from sparsight_cloud.training.samples import Sampler

RUNGS = (0.25, 0.5, 1.0)
"""Shares of a run at which it is judged."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How good a trial is so far.

    Attributes:
        trial: Its number, from 0.
        rung: How many of `RUNGS` it has reached.
        ap: AP on the pictures that were held out, in [0, 1].
        step: Steps done.
        failed: Why it can't go on; empty while it can.
    """

    trial: int
    rung: int
    ap: float
    step: int
    failed: str = ""


def sweep(
    configs: Sequence[TrainConfig],
    train: Dataset,
    val: Dataset,
    out: Path,
    told: Callable[[Judgement], None],
    *,
    concurrent: int,
    early: bool,
    address: str | None = None,
) -> list[Judgement]:
    """Try configurations.

    Args:
        configs: One a trial.
        train: What is trained on.
        val: What is judged on; its classes are those of `train`.
        out: Folder for Ray's own records of the sweep.
        told: Gets each judgement as it comes.
        concurrent: Trials at a time, where the cluster is our own.
        early: Whether poor trials end early.
        address: HOST:PORT of a Ray cluster's head, or `auto`; None starts one here.

    Returns:
        The last judgement of each trial that has one, in order.

    Raises:
        UsageError: There is no such cluster, or Ray can't go on.
    """
    cluster = RayCluster(address, cpus=concurrent, with_serve=False)
    try:
        with quiet():
            cluster.connect()
        return _sweep(configs, train, val, out, told, early)
    finally:
        cluster.disconnect()


def _sweep(
    configs: Sequence[TrainConfig],
    train: Dataset,
    val: Dataset,
    out: Path,
    told: Callable[[Judgement], None],
    early: bool,
) -> list[Judgement]:
    import ray

    try:
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
    except ImportError as error:
        raise UsageError(
            f"Ray Tune can't be imported ({error}); pip install 'sparsight[train]'"
        ) from error

    class Teller(tune.Callback):
        """Passes on what trials report, in the driver."""

        def __init__(self, tell: Callable[[Judgement], None]) -> None:
            self._tell = tell

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
        ) -> None:
            self._tell(Judgement(**{k: result[k] for k in Judgement.__slots__}))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            number = trial.config["trial"]
            so_far = last.get(number, Judgement(number, 0, 0.0, 0))
            why = cause(trial.get_error() or RuntimeError("its process died"))
            self._tell(replace(so_far, rung=len(RUNGS), failed=why))

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return dict, ()  # Ray Tune pickles it for a sweep that goes on, which ours don't

    def note(judgement: Judgement) -> None:
        last[judgement.trial] = judgement
        told(judgement)

    last: dict[int, Judgement] = {}
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    gpus = int(ray.cluster_resources().get("GPU", 0)) if configs[0].device != "cpu" else 0
    asha = ASHAScheduler(
        time_attr="rung", metric="ap", mode="max", max_t=len(RUNGS), grace_period=1,
        reduction_factor=2,
    )  # fmt: skip
    job = ray.put((list(configs), train, val))
    tuner = tune.Tuner(
        tune.with_resources(_trial, {"CPU": 1, "GPU": int(gpus > 0)}),
        param_space={"job": [job], "trial": tune.grid_search(list(range(len(configs))))},
        tune_config=tune.TuneConfig(scheduler=asha if early else FIFOScheduler()),
        run_config=tune.RunConfig(
            name="trials", storage_path=str(out), verbose=0, callbacks=[Teller(note)]
        ),
    )
    try:
        with redirect_stdout(io.StringIO()):  # Ray's own words, which are no part of our answer
            tuner.fit()
    except ray.exceptions.RayError as error:
        raise UsageError(f"the sweep can't go on: {one_line(error)}") from error
    return [last[number] for number in sorted(last)]


def _trial(given: dict[str, Any]) -> None:
    """What Ray Tune runs: train to each rung, and be judged there."""
    import ray
    from ray import tune

    configs, train, val = ray.get(given["job"][0])
    number = given["trial"]

    def report(judgement: Judgement) -> None:
        tune.report({k: getattr(judgement, k) for k in Judgement.__slots__})

    done = Judgement(number, 0, 0.0, 0)
    with tempfile.TemporaryDirectory(prefix="trial-", dir=Path.cwd()) as folder:
        config = configs[number].model_copy(update={"out": Path(folder)})
        try:
            for judgement in _rungs(number, config, train, val):
                done = judgement
                report(done)
        except SparsightError as error:
            report(replace(done, rung=len(RUNGS), failed=one_line(error)))


def _rungs(number: int, config: TrainConfig, train: Dataset, val: Dataset) -> Iterator[Judgement]:
    device = choose_device(config.device)
    with threads(1 if device.type == "cpu" else torch.get_num_threads()):
        sampler = Sampler(train, config.crop, int(config.cache_gb * 1e9))
        for rung, share in enumerate(RUNGS, 1):
            clock = _Until(share)
            outcome = Loop(0, 1, config, sampler, device).go(clock, clock.over)
            yield Judgement(number, rung, _ap(config, val), outcome.steps)


class _Until:
    """A `Watcher` that wants to stop at a share of the run."""

    def __init__(self, share: float) -> None:
        self._share, self._now = share, 0.0

    def begin(self, moment: Moment) -> None:
        """Note where the run begins."""
        self._now = moment.share

    def step(self, moment: Moment) -> None:
        """Note how far it is."""
        self._now = moment.share

    def over(self) -> bool:
        """Whether the next step is the last before the share is reached."""
        return self._share < 1.0 and self._now >= self._share


def _ap(config: TrainConfig, val: Dataset) -> float:
    """AP of the average so far."""
    settings = DetectSettings(long_side_px=config.crop.long_side_px)
    detector = Detector(averaged_network(config.out / CHECKPOINT), settings)
    match = match_classes(detector.classes, val.classes)
    found = run_evaluation(detector, val, match, settings, Console(quiet=True))
    return found.ap.ap or 0.0
