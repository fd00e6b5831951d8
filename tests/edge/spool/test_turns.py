"""Who goes first: frames of now, without the backlog starving."""

from __future__ import annotations

import threading
from pathlib import Path

from sparsight_edge.spool.settings import SpoolSettings
from sparsight_edge.spool.spool import Spool, Spooled
from sparsight_edge.spool.turns import BACKLOG_EVERY, LIVE_FRAMES

GO = threading.Event()
LIVE = SpoolSettings(order="live-first")


def fill(spool: Spool, count: int) -> None:
    for _ in range(count):
        assert spool.append(b"frame", GO) is not None


def take(spool: Spool) -> Spooled:
    one = spool.take()
    assert one is not None
    return one


def backlog_of(folder: Path, count: int) -> None:
    spool = Spool(folder, "d")
    fill(spool, count)
    spool.close()


def test_live_frames_go_first_and_the_backlog_gets_every_fourth_turn(tmp_path: Path) -> None:
    backlog_of(tmp_path, 10)
    spool = Spool(tmp_path, "d", LIVE)
    turns = []
    for _ in range(12):  # a link that takes as much as the camera brings
        fill(spool, 1)
        one = take(spool)
        turns.append(("live" if one.epoch == spool.epoch else "backlog", one.seq))
        spool.finish(one.epoch, one.seq)
    want = [("live", 0), ("live", 1), ("live", 2), ("backlog", 0)]
    want += [("live", 3), ("live", 4), ("live", 5), ("backlog", 1)]
    want += [("live", 6), ("live", 7), ("live", 8), ("backlog", 2)]
    assert turns == want
    spool.close()


def test_what_the_link_has_left_drains_the_backlog_in_order(tmp_path: Path) -> None:
    backlog_of(tmp_path, 50)
    spool = Spool(tmp_path, "d", LIVE)
    live: list[int] = []
    backlog: list[int] = []
    for _ in range(20):  # a link three times as fast as the camera
        fill(spool, 1)
        for _ in range(3):
            one = take(spool)
            (live if one.epoch == spool.epoch else backlog).append(one.seq)
            spool.finish(one.epoch, one.seq)
    assert live == list(range(20)) and backlog == list(range(40))
    spool.close()


def test_an_outage_in_this_boot_is_a_backlog_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "d", LIVE)
    fill(spool, 100)
    order = [one.seq for one in iter(spool.take, None)]
    newest = list(range(100 - LIVE_FRAMES, 100))
    assert order[: BACKLOG_EVERY - 1] == newest[: BACKLOG_EVERY - 1]
    assert [seq for seq in order if seq not in newest] == list(range(100 - LIVE_FRAMES))
    assert sorted(order) == list(range(100))
    spool.close()


def test_on_a_link_that_is_too_slow_live_frames_are_young_and_nothing_starves(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path, "d", LIVE)
    waits, backlog = [], []
    for _ in range(400):
        fill(spool, 2)  # half of them can be sent
        one = take(spool)
        wait = spool.next_seq - 1 - one.seq
        if wait < LIVE_FRAMES:
            waits.append(wait)
        else:
            backlog.append(one.seq)
        spool.finish(one.epoch, one.seq)
    assert len(waits) == 300
    assert backlog == sorted(backlog) and len(backlog) == 100
    spool.close()


def test_a_frame_that_comes_back_keeps_its_place(tmp_path: Path) -> None:
    backlog_of(tmp_path, 3)
    spool = Spool(tmp_path, "d", LIVE)
    fill(spool, 2)
    first, second, third = take(spool), take(spool), take(spool)
    assert (first.seq, second.seq, third.seq) == (0, 1, 0)
    assert first.epoch == second.epoch == spool.epoch != third.epoch
    spool.give_back(third.epoch, third.seq)
    spool.give_back(first.epoch, first.seq)
    assert take(spool) == first
    spool.hold(first.epoch, first.seq)
    assert [take(spool).seq for _ in range(3)] == [0, 1, 2]
    assert spool.take() is None
    spool.release()
    assert take(spool) == first
    spool.give_back_all()
    assert {(one.epoch, one.seq) for one in iter(spool.take, None)} == {
        *((spool.epoch, seq) for seq in range(2)),
        *((third.epoch, seq) for seq in range(3)),
    }
    spool.close()
