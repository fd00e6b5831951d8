"""A training run on Ray Train: the driver's half.

    config, data ─> N workers (`ray_worker`) ─ checkpoints ─> URI ─ the last one ─> OUT
                        │ moments    ^ stop
    board <─────────── Desk ─────────┘ <─ Ctrl-C

Ray Train places the workers, opens the process group (gloo, on GPUs nccl), starts all of them again
when one dies, and keeps the checkpoints. The run itself is that of `run` and `loop`: the same files
are left in OUT, and either goes on with what the other one began.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec import AbstractFileSystem

from sparsight.errors import SparsightError, TrainingError, UsageError
from sparsight_cloud.batch.ray_flow import cluster_cpus, quiet
from sparsight_cloud.batch.store import open_uri
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.loop import Outcome, Watcher
from sparsight_cloud.training.ray_worker import FILES, Desk, Job, take_files, train_loop
from sparsight_cloud.training.run import alone_in, make_folder, stop_switch

if TYPE_CHECKING:
    from ray.train import Result

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints below OUT, where no URI is given."""

RESTARTS = 10
"""How often workers may die before the run ends; a node that its owner takes back doesn't count."""

KEPT = 2  # checkpoints: the newest, and the one before for a person who wants it
_POLL_S = 0.2
_AGAIN = "start again to go on from the last checkpoint"


@dataclass(frozen=True, slots=True)
class _Keeping:
    """The folder of the checkpoints, and how often to start again from them."""

    fs: AbstractFileSystem
    parent: str
    name: str
    restarts: int


def run_on_ray(
    config: TrainConfig,
    dataset: Dataset,
    watcher: Watcher,
    say: Callable[[str], None],
    *,
    address: str | None = None,
    storage: str | None = None,
    restarts: int = RESTARTS,
) -> Outcome:
    """Train, or go on training, with `config.processes` workers.

    Args:
        config: The run; its paths hold on every machine of the cluster.
        dataset: Its data.
        watcher: Is told how it goes; begins once more when workers were started again.
        say: Gets a line for a person.
        address: HOST:PORT of a Ray cluster's head, or `auto`; None starts one here.
        storage: Where checkpoints go, a path or URI that every machine reaches; a folder of the
            run's without.
        restarts: How often workers may die before the run ends.

    Raises:
        TrainingError: The run can't start or go on.
        UsageError: There is no such cluster, or the URI can't be used here.
    """
    make_folder(config.out)
    keeping = _keeping(config.out, storage, restarts)
    if address is None and "lo" in {name for _, name in socket.if_nameindex()}:
        # Gloo otherwise looks up the host's name, which fails on machines without a network.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    cluster = RayCluster(address, cpus=config.processes + 1, with_serve=False)
    with alone_in(config.out), stop_switch() as switch:
        try:
            with quiet():
                cluster.connect()
            return _run(config, dataset, watcher, say, keeping, switch.is_set)
        finally:
            cluster.disconnect()


def _run(
    config: TrainConfig,
    dataset: Dataset,
    watcher: Watcher,
    say: Callable[[str], None],
    keeping: _Keeping,
    stopping: Callable[[], bool],
) -> Outcome:
    import ray

    try:
        from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from sparsight_cloud.training.ray_storage import file_system
    except ImportError as error:
        raise UsageError(
            f"Ray Train can't be imported ({error}); pip install 'sparsight[train]'"
        ) from error
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)  # its errors are raised as well
    workers = config.processes
    gpu = _on_gpus(config)
    if not gpu and cluster_cpus() < workers:
        say(f"the cluster has {cluster_cpus():g} processors, {workers} are asked: waiting for more")
    # Beside us: Ray would place it anywhere, and a machine that dies would take it along.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk_actor: Any = ray.remote(num_cpus=0)(Desk)
    desk = desk_actor.options(scheduling_strategy=here).remote()
    files = {name: config.out / name for name in FILES}
    start = {name: file.read_bytes() for name, file in files.items() if file.exists()}
    # Its steps may lie behind those of the storage, which workers find out.
    job = Job(config, ray.put(dataset), ray.put(start), desk)
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": 1, "GPU": int(gpu)}
        ),
        run_config=RunConfig(
            name=keeping.name,
            storage_path=keeping.parent,
            storage_filesystem=file_system(keeping.fs),
            checkpoint_config=CheckpointConfig(num_to_keep=KEPT),
            failure_config=FailureConfig(max_failures=keeping.restarts),
        ),
    )
    try:
        result = _watch(_in_background(trainer.fit), desk, watcher, say, stopping)
        outcome: Outcome | SparsightError | None = ray.get(desk.end.remote())
    except ray.exceptions.RayError as error:
        raise TrainingError(f"Ray lost the run: {cause(error)}; {_AGAIN}") from error
    if isinstance(outcome, SparsightError):
        raise outcome
    if result.checkpoint is None or outcome is None:
        raise TrainingError("the workers ended without a checkpoint; start again")
    with result.checkpoint.as_directory() as there:
        take_files(Path(there), config.out)
    return outcome


def _watch(
    fit: Future[Result],
    desk: Any,
    watcher: Watcher,
    say: Callable[[str], None],
    stopping: Callable[[], bool],
) -> Result:
    """Pass on what rank 0 says until the run has ended."""
    import ray

    begun = told_to_stop = False
    while True:
        ended = fit.done()
        for moment, begins in ray.get(desk.listen.remote()):
            if not begins:
                watcher.step(moment)
                continue
            if begun:
                say("a worker was lost; all start again")
            watcher.begin(moment)
            begun = True
        if ended:
            break
        if stopping() and not told_to_stop:
            ray.get(desk.stop.remote())
            told_to_stop = True
        time.sleep(_POLL_S)
    try:
        return fit.result()
    except Exception as error:  # Ray's own
        known = ray.get(desk.end.remote())
        if isinstance(known, SparsightError):
            raise known from error
        raise TrainingError(f"the workers can't go on: {cause(error)}; {_AGAIN}") from error


def _in_background(fit: Callable[[], Result]) -> Future[Result]:
    """Run Ray Train apart from us: its handler of Ctrl-C would end the run without a checkpoint."""
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(fit())
        except BaseException as error:
            done.set_exception(error)

    # A daemon, so that a second Ctrl-C needn't wait for it.
    threading.Thread(target=run, name="ray-train", daemon=True).start()
    return done


def _on_gpus(config: TrainConfig) -> bool:
    import ray

    there = int(ray.cluster_resources().get("GPU", 0))
    if config.device == "cuda" and there == 0:
        raise TrainingError(
            "device: cuda was asked for, but the cluster has no GPU; use auto or cpu"
        )
    return config.device == "cuda" or (config.device == "auto" and there >= config.processes)


def _keeping(out: Path, storage: str | None, restarts: int) -> _Keeping:
    fs, path = open_uri(storage or str(out.absolute() / CHECKPOINTS))
    parent, _, name = path.rstrip("/").rpartition("/")
    if not parent or not name:
        raise TrainingError(
            f"--storage: expected a folder of this run's own in a bucket or folder, got {storage}"
        )
    return _Keeping(fs, parent, name, restarts)


def cause(error: Exception) -> str:
    """The last line of what Ray says: that of the worker's own error, below its traceback."""
    lines = str(error).strip().splitlines()
    return (lines[-1].strip() if lines else type(error).__name__)[:500]
