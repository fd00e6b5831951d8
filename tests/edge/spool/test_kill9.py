"""A process that appends and finishes frames, killed again and again at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from sparsight_edge.spool.settings import SpoolSettings
from sparsight_edge.spool.spool import Spool

ROUNDS = 12
SETTINGS = SpoolSettings(1 << 20)

# It says on a file what it is about to do and what it has done: a pipe could lose words to a kill,
# the page cache of a file does not.
WORKER = """
import os, random, sys, threading
from pathlib import Path
from tests.edge.spool.test_kill9 import SETTINGS, body_of
from sparsight_edge.spool.spool import Spool

draw = random.Random(int(sys.argv[2]))
said = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
say = lambda *words: os.write(said, (" ".join(map(str, words)) + "\\n").encode())
spool = Spool(Path(sys.argv[1]), "d", SETTINGS)
say("boot", spool.epoch, 0)
stop = threading.Event()
stop.set()
while True:
    if draw.random() < 0.55:
        seq = spool.append(body_of(spool.epoch, spool.next_seq), stop)
        if seq is not None:
            say("appended", spool.epoch, seq)
    elif (one := spool.take()) is not None:
        assert one.body == body_of(one.epoch, one.seq)
        say("finishing", one.epoch, one.seq)
        spool.finish(one.epoch, one.seq)
        say("finished", one.epoch, one.seq)
"""


def body_of(epoch: int, seq: int) -> bytes:
    """Of a few bytes to some pages, and no two the same."""
    return b"%d %d " % (epoch, seq) * (1 + (seq * 7919) % 700)


@dataclass
class Truth:
    """What all processes said, by frame."""

    appended: set[tuple[int, int]] = field(default_factory=set)
    finishing: set[tuple[int, int]] = field(default_factory=set)
    finished: set[tuple[int, int]] = field(default_factory=set)
    boots: set[int] = field(default_factory=set)

    def hear(self, said: Path) -> None:
        for line in said.read_text().splitlines():
            what, epoch, seq = line.split()
            if what == "boot":
                self.boots.add(int(epoch))
            else:
                getattr(self, what).add((int(epoch), int(seq)))


def killed_after(folder: Path, said: Path, seed: int, seconds: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), str(seed), str(said)],
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
    ) as worker:
        while not said.exists() or not said.stat().st_size:
            assert worker.poll() is None
            time.sleep(0.001)
        time.sleep(seconds)
        worker.send_signal(signal.SIGKILL)
        assert worker.wait(60) == -signal.SIGKILL


def test_nothing_that_was_promised_is_lost_and_nothing_finished_comes_back(tmp_path: Path) -> None:
    draw, truth = random.Random(5), Truth()
    for turn in range(ROUNDS):
        said = tmp_path / f"said-{turn}"
        killed_after(tmp_path / "spool", said, turn, draw.uniform(0.0, 0.08))
        truth.hear(said)
        spool = Spool(tmp_path / "spool", "d", SETTINGS)
        found = list(iter(spool.take, None))
        assert spool.stats().damaged == 0
        spool.close()
        for one in found:
            assert one.body == body_of(one.epoch, one.seq)
        keys = [(one.epoch, one.seq) for one in found]
        assert keys == sorted(keys)
        assert truth.appended - truth.finishing <= set(keys)
        assert truth.finished.isdisjoint(keys)
        # Of each boot one more: it was written, and the kill came before the word.
        more = set(keys) - truth.appended
        assert (
            len({epoch for epoch, _ in more}) == len(more) and {e for e, _ in more} <= truth.boots
        )
    assert len(truth.appended) > 200 and len(truth.finished) > 100
