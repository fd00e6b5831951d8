"""Signals as they may come: alone, twice, and many at once while threads compete."""

from __future__ import annotations

import os
import signal
import threading
import time

from sparsight_edge.agent import Stops
from sparsight_edge.signals import obey_signals


def test_one_drains_and_two_end() -> None:
    stops = Stops()
    with obey_signals(stops, hangs_up=False) as asked:
        assert asked.exit_code == 0
        os.kill(os.getpid(), signal.SIGHUP)
        assert asked.reload and not stops.soon.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stops.soon.is_set() and not stops.now.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stops.now.is_set()
    assert asked.exit_code == 143


def test_a_terminal_that_is_gone_drains() -> None:
    stops = Stops()
    with obey_signals(stops, hangs_up=True) as asked:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stops.soon.is_set() and not asked.reload
    assert asked.exit_code == 129


def test_a_hail_of_them_hangs_nobody() -> None:
    stops, done = Stops(), threading.Event()

    def busy() -> None:
        while not done.is_set():
            sum(range(1000))

    def hail() -> None:
        for _ in range(300):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.001)
        done.set()

    with obey_signals(stops, hangs_up=False) as asked:
        threads = [threading.Thread(target=one, daemon=True) for one in (busy, busy, hail)]
        for thread in threads:
            thread.start()
        end_s = time.monotonic() + 60
        while not done.is_set():
            asked.reload = False
            assert time.monotonic() < end_s
            time.sleep(0.001)
        for thread in threads:
            thread.join(10)
    assert len(asked.ends) > 2 and stops.now.is_set()
