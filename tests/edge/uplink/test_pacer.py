"""The promise of the pacer, against a kernel that does its worst."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsight.errors import UsageError
from sparsight_edge.uplink.pacer import WINDOW_S, Pacer
from sparsight_edge.uplink.tcp_info import TcpInfo

MSS, HEADER = 1448, 66
STEP_S = 0.02


@dataclass
class Kernel:
    """Holds what it was given, and sends it when it likes, once or twice."""

    pacer: Pacer
    unsent: int = 0
    unacked: deque[int] = field(default_factory=deque)
    left: int = 0

    def info(self) -> TcpInfo:
        return TcpInfo(self.left, self.unsent, sum(self.unacked), MSS, HEADER)

    def send(self) -> int:
        """Everything it has, at once."""
        wire = self.info().wire_bytes(self.unsent) if self.unsent else 0
        if self.unsent:
            self.unacked.append(self.unsent)
            self.unsent = 0
        return wire

    def send_again(self) -> int:
        """All that was not acknowledged, once."""
        wire = sum(self.info().wire_bytes(size) for size in self.unacked)
        self.unacked.clear()
        return wire


@settings(max_examples=15, deadline=None)
@given(
    kbps=st.sampled_from([8.0, 64.0, 500.0, 20_000.0]),
    seed=st.integers(0, 10_000),
    loss=st.floats(0.0, 1.0),
)
def test_no_window_carries_more_than_promised(kbps: float, seed: int, loss: float) -> None:
    now_s = 0.0
    pacer = Pacer(kbps, clock=lambda: now_s)
    kernel, chance = Kernel(pacer), random.Random(seed)
    left: list[tuple[float, int]] = []
    away_until_s = 0.0
    for step in range(int(40 / STEP_S)):
        now_s = step * STEP_S
        if now_s > away_until_s:
            wire = kernel.send()
            if chance.random() < 0.05:
                if chance.random() < loss:
                    wire += kernel.send_again()
                else:
                    kernel.unacked.clear()
            if wire:
                left.append((now_s, wire))
                pacer.left(wire)
            if chance.random() < 0.002:  # an outage: what comes meanwhile leaves all at once
                away_until_s = now_s + chance.uniform(0, 15)
        room = pacer.room(kernel.info())
        if room > 1200 and chance.random() < 0.9:
            size = min(room, chance.randrange(1, 16_384))
            pacer.hand_over(kernel.info(), size)
            kernel.unsent += size
    most = kbps * 125 * WINDOW_S
    for begin_s, _ in left:
        assert sum(w for at, w in left if begin_s <= at < begin_s + WINDOW_S) <= most


def test_a_link_that_loses_nothing_is_used() -> None:
    now_s, sent = 0.0, 0
    pacer = Pacer(400, clock=lambda: now_s)
    for step in range(3000):
        now_s = step * STEP_S
        info = TcpInfo(0, 0, 0, MSS, HEADER)
        room = pacer.room(info)
        if room >= MSS:
            pacer.hand_over(info, MSS)
            pacer.left(MSS + HEADER)
            sent += MSS + HEADER
    assert 0.9 < sent / (400 * 125 * 60) <= 1.0
    assert pacer.kbps() == pytest.approx(400, rel=0.1)


def test_after_a_pause_no_more_than_a_second_at_once() -> None:
    now_s = 0.0
    pacer = Pacer(400, clock=lambda: now_s)
    # Nor at the start: the run before may have sent just now.
    assert 0 < pacer.room(TcpInfo(0, 0, 0, MSS, HEADER)) < 4096
    now_s = 100.0
    assert 40_000 < pacer.room(TcpInfo(0, 0, 0, MSS, HEADER)) <= 50_000


def test_what_the_kernel_still_holds_is_paid_for_twice() -> None:
    now_s = 0.0
    pacer = Pacer(64, clock=lambda: now_s)
    now_s = 1.0
    assert pacer.room(TcpInfo(0, 0, 0, MSS, HEADER)) > 7000
    assert pacer.room(TcpInfo(0, 40_000, 0, MSS, HEADER)) == 0
    assert 0 < pacer.room(TcpInfo(0, 0, 70_000, MSS, HEADER)) < 7000


def test_another_promise_holds_at_once() -> None:
    now_s = 0.0
    pacer = Pacer(400, clock=lambda: now_s)
    now_s = 1.0
    pacer.change(64)
    assert pacer.room(TcpInfo(0, 0, 0, MSS, HEADER)) < 8000
    assert (pacer.window_bytes, pacer.frame_bytes_max) == (80_000, 64_000)
    for bad in (0.0, 7.9, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="max_kbps: expected at least 8, got"):
            pacer.change(bad)
    assert pacer.max_kbps == 64
