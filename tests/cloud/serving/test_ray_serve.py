"""What Ray Serve adds to a dispatch: processes that die, and models that don't load.

What it has in common with every dispatch is in `tests/contract/test_dispatch.py`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sparsight.errors import BundleError, UsageError
from sparsight.wire import FrameFeatures
from sparsight_cloud.serving.batching import BatchRule
from sparsight_cloud.serving.dispatch import (
    Answered,
    DispatchUnavailableError,
    Outcome,
    Replica,
    ReplicaFailedError,
)
from sparsight_cloud.serving.ray_app import Replicas, app_name
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.serving.ray_replica import Model
from sparsight_cloud.serving.ray_serve import RayServeDispatch

from .hashes import CRASH, DEATH, HashReplica, MortalReplica, a_frame, same
from .processes import listening_on

RULE = BatchRule(4, 20.0)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[RayCluster]:
    cluster = RayCluster(cpus=8)
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.close())


def run_dispatch(
    load: Callable[[], Replica],
    do: Callable[[RayServeDispatch], Coroutine[Any, Any, None]],
    replicas: Replicas | None = None,
    **options: Any,
) -> None:
    """Do something to a dispatch that runs."""

    async def run() -> None:
        model = Model(load, HashReplica().serves)
        dispatch = RayServeDispatch(model, RayCluster(), replicas, RULE, **options)
        await dispatch.start()
        try:
            await do(dispatch)
        finally:
            await dispatch.close()

    asyncio.run(run())


async def submit_all(
    dispatch: RayServeDispatch, frames: list[FrameFeatures]
) -> list[Outcome | BaseException]:
    return await asyncio.gather(*map(dispatch.submit, frames), return_exceptions=True)


def asked(diary: Path) -> list[tuple[int, ...]]:
    """The batches that replicas were asked, in order."""
    rows = (line.split()[1] for line in diary.read_text().splitlines())
    return [tuple(map(int, row.split(","))) for row in rows]


@pytest.mark.usefixtures("ray_cluster")
def test_a_frame_that_kills_replicas_fails_alone_and_the_others_are_answered(
    tmp_path: Path,
) -> None:
    frames = [a_frame(seq) for seq in range(4)]
    frames[1] = a_frame(1, payload=DEATH)
    diary = tmp_path / "diary"

    async def do(dispatch: RayServeDispatch) -> None:
        outcomes = await submit_all(dispatch, frames)
        assert isinstance(outcomes[1], ReplicaFailedError)
        for seq in (0, 2, 3):
            outcome = outcomes[seq]
            assert isinstance(outcome, Outcome)
            assert same(outcome.answer, HashReplica().run([frames[seq]])[0])

    run_dispatch(partial(MortalReplica, diary), do)
    # Each batch it was in was tried twice: with the others, and alone.
    assert [batch for batch in asked(diary) if 1 in batch] == [(0, 1, 2, 3)] * 2 + [(1,)] * 2


@pytest.mark.usefixtures("ray_cluster")
def test_what_the_model_raises_is_not_tried_again(tmp_path: Path) -> None:
    frames = [a_frame(0, payload=CRASH), a_frame(1), a_frame(2), a_frame(3)]
    diary = tmp_path / "diary"

    async def do(dispatch: RayServeDispatch) -> None:
        outcomes = await submit_all(dispatch, frames)
        assert isinstance(outcomes[0], ReplicaFailedError)
        assert "RuntimeError: broken down" in str(outcomes[0])
        assert all(isinstance(outcome, Outcome) for outcome in outcomes[1:])

    run_dispatch(partial(MortalReplica, diary), do)
    # All in one batch, then one by one to find the culprit, and that was it.
    assert Counter(asked(diary)) == {(0, 1, 2, 3): 1, (0,): 1, (1,): 1, (2,): 1, (3,): 1}


@pytest.mark.usefixtures("ray_cluster")
def test_a_replica_that_does_not_answer_is_given_up() -> None:
    async def do(dispatch: RayServeDispatch) -> None:
        with pytest.raises(DispatchUnavailableError, match=r"no replica answered in 0\.5 s"):
            await dispatch.submit(a_frame())

    run_dispatch(partial(HashReplica, 3.0), do, patience_s=0.5)


@pytest.mark.usefixtures("ray_cluster")
def test_a_model_that_does_not_load_is_said_in_one_line(tmp_path: Path) -> None:
    async def do(_: RayServeDispatch) -> None:
        raise AssertionError("it started")

    with pytest.raises(UsageError, match=r"BundleError: .*no bundle") as caught:
        run_dispatch(partial(broken_model, tmp_path), do)
    assert "\n" not in str(caught.value)


def broken_model(folder: Path) -> Replica:
    raise BundleError(f"{folder}: no bundle\nnowhere")


@pytest.mark.usefixtures("ray_cluster")
def test_no_port_is_open_to_other_machines() -> None:
    async def do(dispatch: RayServeDispatch) -> None:
        outcome = await dispatch.submit(a_frame())
        assert isinstance(outcome.answer, Answered)
        addresses = listening_on()
        assert len(addresses) > 3
        assert [a for a in addresses if not a.startswith(("127.", "::1", "::ffff:127."))] == []

    run_dispatch(HashReplica, do)


JOIN = """
import asyncio, sys
from sparsight.errors import UsageError
from sparsight.logs import log_to_stderr
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.serving.ray_replica import Model
from sparsight_cloud.serving.ray_serve import RayServeDispatch
from tests.cloud.serving.hashes import HashReplica, a_frame, same

async def join():
    model = Model(HashReplica, HashReplica().serves)
    dispatch = RayServeDispatch(model, RayCluster(sys.argv[1]), app="joined")
    await dispatch.start()
    outcome = await dispatch.submit(a_frame())
    assert same(outcome.answer, HashReplica().run([a_frame()])[0])
    await dispatch.close()

log_to_stderr()
try:
    asyncio.run(join())
    print("answered")
except UsageError as error:
    print(error)
"""


def join(address: str) -> str:
    """What a process says that computes in a cluster at an address."""
    path = os.pathsep.join(p for p in (os.getcwd(), *sys.path) if p)  # noqa: PTH109
    done = subprocess.run(
        [sys.executable, "-c", JOIN, address],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cluster_of_others_is_joined_and_left(ray_cluster: RayCluster) -> None:
    import ray
    from ray import serve

    assert join(ray.get_runtime_context().gcs_address) == "answered\n"
    names = asyncio.run(ray_cluster.call(serve.status)).applications.keys()
    assert "joined" not in names


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:1", "expected HOST:PORT"),
        ("127.0.0.1:1", "127.0.0.1:1: no Ray cluster"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_in_one_line(address: str, says: str) -> None:
    said = join(address)
    assert says in said and said.count("\n") == 1


def test_an_app_is_named_for_its_results(tmp_path: Path) -> None:
    assert app_name(tmp_path / "a") == app_name(tmp_path / "b" / ".." / "a")
    assert app_name(tmp_path / "a") != app_name(tmp_path / "b")


def test_a_bundle_is_checked_before_anything_starts(split_bundle: Path, tmp_path: Path) -> None:
    model = Model.of_bundles([split_bundle])
    assert list(model.serves.bundles.values()) == [("red", "blue", "green")]
    with pytest.raises(BundleError):
        Model.of_bundles([split_bundle, tmp_path])
