"""The real program, killed at random moments: no row is missing, none is there twice."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.cloud.serving.processes import descendants, name_of

from .runs import expected, finish, rows_of, start, write_flight

N = 60
KILLS = 3


def wait_for(out: Path, shards: int, deadline_s: float = 200.0) -> None:
    """Wait until so many shards are written."""
    end_s = time.monotonic() + deadline_s
    while len(list(out.glob("rows/shard-*.parquet"))) < shards:
        assert time.monotonic() < end_s, "nothing is written"
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_and_started_again(tmp_path: Path, split_bundle: Path) -> None:
    flight, out = write_flight(tmp_path / "flight", N), tmp_path / "out"
    dice = random.Random(5)
    for kill in range(KILLS):
        process = start(flight, split_bundle, out, "--shard", "2", "--workers", "2")
        try:
            wait_for(out, 1 + kill * N // 10)
            time.sleep(dice.uniform(0.0, 0.05))
        finally:
            process.kill()
            process.communicate()
    there = len(rows_of(out))
    assert there < N, "the machine is too fast: nothing was left to go on with"

    process = start(flight, split_bundle, out, "--shard", "2", "--workers", "2")
    try:
        # One of Ray's processes dies, too.
        wait_for(out, there // 2 + 1)
        workers = [pid for pid in descendants(process.pid) if "DeepStage" in name_of(pid)]
        assert workers
        for pid in workers[:1]:
            os.kill(pid, signal.SIGKILL)
        code, summary, said = finish(process)
    finally:
        process.kill()
    assert code == 4, said
    assert summary["pictures"] + summary["failed"] == N
    assert f"{there} of {N} were done earlier" in said or summary["earlier"] >= there
    assert rows_of(out) == expected(flight, split_bundle, shard=2)
    assert not list(out.glob("rows/*.part-*"))
