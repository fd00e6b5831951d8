"""Ray's driver as a process of its own: one that crashes is replaced, and the run goes on.

    this process ── what is left to do ──> driver ── shards ──> Ray
        ^─────── each shard, once it is written ──┘
        └ the driver died: another one does the rest

Ray's C++ may abort its driver when it loses an actor at a bad moment, and Python can't catch that.
Shards are whole or not there, so a death costs a start. Drivers that die one after the other
without a shard written in between end the run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeAlias

from sparsight.errors import SparsightError, UsageError
from sparsight_cloud.batch.items import Shard
from sparsight_cloud.batch.ray_flow import Job, cluster_cpus, flow
from sparsight_cloud.batch.rows import Made
from sparsight_cloud.serving.ray_cluster import RayCluster

DEATHS = 3
"""Drivers that may die one after the other without a shard written."""

_END_S = 30.0  # a cluster of our own takes a few seconds to end
_SHOWN_CHARS = 300
_STDERR = 2

Written: TypeAlias = tuple[int, Made]
"""Number of a shard, and what it took."""


@dataclass(frozen=True, slots=True)
class Where:
    """What computes.

    Attributes:
        workers: Processes of each stage; None takes one for each processor.
        address: HOST:PORT of a Ray cluster's head, or `auto`; None starts one here.
    """

    workers: int | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A driver has its cluster.

    Attributes:
        workers: Processes of each stage.
    """

    workers: int


def drive(
    job: Job, todo: Sequence[Shard], where: Where, died: Callable[[str], None]
) -> Generator[Started | Written, None, None]:
    """Do some shards, with as many drivers as it takes.

    Args:
        job: What is to be done with them.
        todo: At least one.
        where: What computes.
        died: Told how a driver died, before the next one is started.

    Yields:
        Each driver that has started, and each shard that is written.

    Raises:
        UsageError: Ray can't be started, joined, or can't go on.
    """
    left = {shard.number: shard for shard in todo}
    deaths = 0
    while left:
        with tempfile.NamedTemporaryFile() as said:
            driver = _Driver(job, list(left.values()), where, Path(said.name))
            try:
                for message in driver.messages():
                    if not isinstance(message, Started):
                        del left[message[0]]
                        deaths = 0
                    yield message
            finally:
                driver.end()
            how = driver.last_words()
        if left:
            deaths += 1
            if deaths == DEATHS:
                raise UsageError(f"{deaths} of Ray's drivers died one after the other: {how}")
            died(how)


class _Driver:
    """Owns one process that drives Ray, and what that says on stderr."""

    def __init__(self, job: Job, todo: Sequence[Shard], where: Where, said: Path) -> None:
        self._said = said
        context = multiprocessing.get_context("spawn")  # Ray does not survive a fork
        self._pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_work, args=(theirs, said, job, todo, where), daemon=True
        )
        self._process.start()
        theirs.close()

    def messages(self) -> Iterator[Started | Written]:
        """What it tells, until it is done or dead.

        Raises:
            SparsightError: It can't go on.
        """
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, ConnectionError):
                return
            if isinstance(message, SparsightError):
                raise message
            yield message

    def end(self) -> None:
        """Have it end its cluster and itself, if it has not; nothing is left of it then."""
        self._pipe.close()
        self._process.terminate()
        self._process.join(_END_S)
        self._process.kill()
        self._process.join()

    def last_words(self) -> str:
        """How it died, in a line."""
        code = self._process.exitcode
        how = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        lines = self._said.read_text(errors="replace").splitlines()
        # C++ says what was wrong before it shows where.
        why = next((line for line in lines if "Check failed" in line), None)
        return how if why is None else f"{how}, {' '.join(why.split())[:_SHOWN_CHARS]}"


def _work(pipe: Connection, stderr: Path, job: Job, todo: Sequence[Shard], where: Where) -> None:
    """Be the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started this
    _write_errors_to(stderr)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        _do(pipe, job, todo, where)
    except SparsightError as error:
        pipe.send(error)
    except Exception as error:  # Ray's own, and what it carries of the stages
        pipe.send(UsageError(_cause(error)))
    finally:
        pipe.close()


def _do(pipe: Connection, job: Job, todo: Sequence[Shard], where: Where) -> None:
    asked = min(where.workers or len(os.sched_getaffinity(0)), len(todo))
    # One processor more than the pools ask for: Ray's own small tasks must never wait for them.
    cluster = RayCluster(where.address, cpus=asked + 1, with_serve=False)
    try:
        cluster.connect()
        if where.address is not None:
            asked = min(_room(where.workers), len(todo))
        pipe.send(Started(asked))
        for written in flow(job, todo, asked):
            pipe.send(written)
    finally:
        cluster.disconnect()


def _room(workers: int | None) -> int:
    """Processes of each stage that fit: if the first took all, the second would never start."""
    cpus = cluster_cpus()
    if cpus < 1:
        raise UsageError(f"the cluster has {cpus:g} processors, expected at least one")
    return min(workers or int(cpus), int(cpus))


def _write_errors_to(file: Path) -> None:
    """What Ray and its C++ have to say is for developers."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr = file.open("a", buffering=1)
    os.dup2(sys.stderr.fileno(), _STDERR)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)  # the cluster ends with this process


def _cause(error: Exception) -> str:
    """The last line of what Ray says: that of the stage's own error, below its traceback."""
    lines = str(error).strip().splitlines()
    return (lines[-1].strip() if lines else type(error).__name__)[:500]
