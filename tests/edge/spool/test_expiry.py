"""Frames that are too old are forgotten, and no clock that jumps wipes a spool."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sparsight.errors import UsageError
from sparsight_edge.spool.settings import SPOOL_BYTES_MIN, SpoolSettings
from sparsight_edge.spool.spool import Spool

from .clocks import NOON, Clocks

GO = threading.Event()
HOUR_S = 3600.0


def spool_of(folder: Path, clocks: Clocks) -> Spool:
    return Spool(folder, "d", SpoolSettings(max_age_s=HOUR_S), clocks.boot())


def left(spool: Spool) -> list[tuple[int, int]]:
    return [(one.epoch, one.seq) for one in iter(spool.take, None)]


def test_frames_that_are_too_old_are_forgotten_and_counted(tmp_path: Path) -> None:
    clocks = Clocks()
    spool = spool_of(tmp_path, clocks)
    for _ in range(10):
        spool.append(b"frame", GO)
        clocks.pass_s(600.0)
    spool.sync()
    stats = spool.stats()
    assert (stats.expired, stats.dropped, stats.left) == (4, 0, 6)
    assert stats.oldest_age_s == HOUR_S
    assert [seq for _, seq in left(spool)] == [4, 5, 6, 7, 8, 9]
    assert not spool.finish(spool.epoch, 0)
    spool.close()


def test_what_expired_does_not_come_back_with_the_next_boot(tmp_path: Path) -> None:
    clocks = Clocks()
    spool = spool_of(tmp_path, clocks)
    spool.append(b"old", GO)
    clocks.pass_s(HOUR_S + 1)
    spool.append(b"new", GO)
    assert spool.stats().expired == 1
    spool.close()
    again = Spool(tmp_path, "d")
    assert [seq for _, seq in left(again)] == [1]
    again.close()


def test_a_frame_that_is_being_sent_waits_for_its_answer(tmp_path: Path) -> None:
    clocks = Clocks()
    spool = spool_of(tmp_path, clocks)
    for _ in range(3):
        spool.append(b"frame", GO)
    assert [spool.take(), spool.take()][1] is not None
    spool.hold(spool.epoch, 1)
    clocks.pass_s(HOUR_S + 1)
    spool.sync()
    assert spool.stats().expired == 2  # the one that waited, and the held one
    assert spool.stats().taken == 1
    spool.give_back(spool.epoch, 0)
    clocks.pass_s(1.0)
    assert spool.take() is None
    assert (spool.stats().expired, spool.stats().left) == (3, 0)
    spool.close()


def test_frames_of_earlier_boots_go_when_the_clock_has_stood_for_a_minute(tmp_path: Path) -> None:
    clocks = Clocks()
    spool = spool_of(tmp_path, clocks)
    spool.append(b"frame", GO)
    spool.close()
    clocks.pass_s(2 * HOUR_S)
    spool = spool_of(tmp_path, clocks)
    first = spool.take()
    assert first is not None
    spool.give_back(first.epoch, first.seq)
    clocks.pass_s(59.0)
    spool.sync()
    assert spool.stats().left == 1
    clocks.pass_s(2.0)
    spool.sync()
    assert (spool.stats().expired, spool.stats().left) == (1, 0)
    spool.close()


def test_fifty_years_of_a_jump_wipe_nothing(tmp_path: Path) -> None:
    clocks = Clocks(unix_s=0.0)  # a board without a battery
    spool = spool_of(tmp_path, clocks)
    spool.append(b"of a boot that never knew the time", GO)
    spool.close()
    spool = spool_of(tmp_path, clocks)
    spool.append(b"of a boot that is told it", GO)
    clocks.pass_s(120.0)
    clocks.wall_s = NOON
    for _ in range(100):
        clocks.pass_s(2.0)
        spool.sync()
    assert (spool.stats().expired, spool.stats().left) == (0, 2)
    assert spool.stats().oldest_age_s == 320.0
    clocks.pass_s(HOUR_S)  # but time passes for all of them
    spool.sync()
    assert (spool.stats().expired, spool.stats().left) == (2, 0)
    spool.close()


def test_a_wrong_answer_of_the_network_that_is_put_right_wipes_nothing(tmp_path: Path) -> None:
    clocks = Clocks()
    spool = spool_of(tmp_path, clocks)
    spool.append(b"frame", GO)
    spool.close()
    spool = spool_of(tmp_path, clocks)
    for seconds, jump_s in ((100, 1e9), (50, -1e9), (100, 0.0)):
        for _ in range(seconds):
            clocks.pass_s(1.0)
            spool.sync()
        clocks.wall_s += jump_s
    assert (spool.stats().expired, spool.stats().left) == (0, 1)
    spool.close()


def test_what_expires_makes_room_for_who_waits(tmp_path: Path) -> None:
    clocks = Clocks()
    settings = SpoolSettings(SPOOL_BYTES_MIN, "block", max_age_s=HOUR_S)
    spool = Spool(tmp_path, "d", settings, clocks.boot())
    stop = threading.Event()
    stop.set()
    while spool.append(bytes(3000), stop) is not None:
        pass
    clocks.pass_s(HOUR_S + 1)
    assert spool.append(bytes(3000), stop) is not None
    assert spool.stats().expired > 15 and spool.stats().left == 1
    spool.close()


@pytest.mark.parametrize("age_s", [0.0, -1.0, float("nan")])
def test_no_frame_is_so_young(age_s: float) -> None:
    with pytest.raises(UsageError, match="max_age_s: expected more than 0 seconds"):
        SpoolSettings(max_age_s=age_s)
