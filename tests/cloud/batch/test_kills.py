"""The real program, killed at random moments: no row is missing, none is there twice."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cloud.serving.processes import descendants, name_of

from sparsight_cloud.serving.ray_cluster import RayCluster

from .runs import expected, finish, rows_of, start, write_flight

N = 60
SHARD = 2


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """One cluster for all starts, each of which is a job of its own there."""
    cluster = RayCluster(cpus=3, with_serve=False)
    cluster.connect()
    import ray

    yield ray.get_runtime_context().gcs_address
    cluster.disconnect()


def shards(out: Path) -> int:
    return len(list(out.glob("rows/shard-*.parquet")))


def wait_for(out: Path, n: int, deadline_s: float = 200.0) -> None:
    """Wait until so many shards are written."""
    end_s = time.monotonic() + deadline_s
    while shards(out) < n:
        assert time.monotonic() < end_s, "nothing is written"
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_and_started_again(tmp_path: Path, split_bundle: Path, address: str) -> None:
    flight, out = write_flight(tmp_path / "flight", N), tmp_path / "out"
    how = ("--shard", str(SHARD), "--workers", "2", "--address", address)
    dice = random.Random(5)
    for _ in range(2):
        process = start(flight, split_bundle, out, *how)
        try:
            wait_for(out, shards(out) + 3)
            time.sleep(dice.uniform(0.0, 0.05))
        finally:
            process.kill()
            process.communicate()
    there = len(rows_of(out))
    assert there < N, "the machine is too fast: nothing was left to go on with"

    process = start(flight, split_bundle, out, *how)
    try:
        # One of the processes that compute dies, too.
        wait_for(out, there // SHARD + 1)
        computing = [pid for pid in descendants() if "PoolProcess" in name_of(pid)]
        os.kill(computing[-1], signal.SIGKILL)
        code, summary, said = finish(process)
    finally:
        process.kill()
    assert code == 4, said
    assert summary["pictures"] + summary["failed"] == N
    assert summary["earlier"] >= there
    assert rows_of(out) == expected(flight, split_bundle, shard=SHARD)
    assert not list(out.glob("rows/*.part-*"))
