"""Ages of frames, whatever the clock on the wall does."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from zlib import crc32

from sparsight_edge.spool.clock import SpoolClock
from sparsight_edge.spool.spool import Spool

GO = threading.Event()
NOON = 1_800_000_000.0


class Clocks:
    """A machine's two clocks, moved by hand."""

    def __init__(self, unix_s: float = NOON) -> None:
        self.wall_s = unix_s
        self.running_s = 1000.0

    def pass_s(self, seconds: float) -> None:
        self.wall_s += seconds
        self.running_s += seconds

    def boot(self) -> SpoolClock:
        return SpoolClock(lambda: self.wall_s, lambda: self.running_s)


def spool_of(folder: Path, clocks: Clocks) -> Spool:
    return Spool(folder, "d", clock=clocks.boot())


def test_the_oldest_frame_that_is_not_answered_tells_the_age(tmp_path: Path) -> None:
    clocks = Clocks()
    spool = spool_of(tmp_path, clocks)
    assert spool.stats().oldest_age_s == 0.0
    for _ in range(3):
        spool.append(b"frame", GO)
        clocks.pass_s(10.0)
    assert spool.stats().oldest_age_s == 30.0
    spool.take()
    assert spool.stats().oldest_age_s == 30.0  # being sent is not answered
    spool.finish(spool.epoch, 1)
    assert spool.stats().oldest_age_s == 30.0
    spool.finish(spool.epoch, 0)
    assert spool.stats().oldest_age_s == 10.0
    spool.finish(spool.epoch, 2)
    assert spool.stats().oldest_age_s == 0.0
    spool.close()


def test_ages_go_on_over_boots(tmp_path: Path) -> None:
    clocks = Clocks()
    spool = spool_of(tmp_path, clocks)
    clocks.pass_s(5.0)
    spool.append(b"frame", GO)
    clocks.pass_s(100.0)
    spool.close()
    clocks.pass_s(3600.0)
    clocks.running_s = 3.0  # the machine was off
    spool = spool_of(tmp_path, clocks)
    assert abs(spool.stats().oldest_age_s - 3700.0) < 0.2
    clocks.pass_s(1.0)
    spool.append(b"younger", GO)
    assert abs(spool.stats().oldest_age_s - 3701.0) < 0.2
    spool.close()


def test_a_jump_does_not_touch_frames_of_this_boot(tmp_path: Path) -> None:
    clocks = Clocks(unix_s=0.0)  # no battery
    spool = spool_of(tmp_path, clocks)
    spool.append(b"frame", GO)
    clocks.pass_s(7.0)
    clocks.wall_s = NOON
    assert spool.stats().oldest_age_s == 7.0
    clocks.wall_s = 0.0
    assert spool.stats().oldest_age_s == 7.0
    spool.close()


def test_frames_of_an_earlier_boot_are_aged_by_what_it_showed_last(tmp_path: Path) -> None:
    clocks = Clocks(unix_s=0.0)
    spool = spool_of(tmp_path, clocks)
    spool.append(b"before the network told the time", GO)
    clocks.pass_s(20.0)
    clocks.wall_s = NOON
    spool.append(b"after it", GO)
    spool.close()
    clocks.pass_s(30.0)
    spool = spool_of(tmp_path, clocks)
    assert abs(spool.stats().oldest_age_s - 50.0) < 0.2
    spool.close()


def test_frames_of_a_boot_without_a_clock_are_as_old_as_this_boot(tmp_path: Path) -> None:
    clocks = Clocks(unix_s=0.0)
    spool = spool_of(tmp_path, clocks)
    spool.append(b"frame", GO)
    spool.close()
    clocks = Clocks(unix_s=NOON)
    spool = spool_of(tmp_path, clocks)
    clocks.pass_s(9.0)
    assert spool.stats().oldest_age_s == 9.0
    spool.close()


def test_no_age_is_negative(tmp_path: Path) -> None:
    clocks = Clocks()
    spool = spool_of(tmp_path, clocks)
    spool.append(b"frame", GO)
    spool.close()
    clocks.wall_s -= 86400.0
    spool = spool_of(tmp_path, clocks)
    assert spool.stats().oldest_age_s == 0.0
    clocks.pass_s(2.0)
    assert spool.stats().oldest_age_s == 2.0
    spool.close()


def test_a_clock_stands_when_it_has_not_jumped_for_a_minute() -> None:
    clocks = Clocks()
    clock = clocks.boot()
    assert not clock.stands()
    clocks.pass_s(61.0)
    assert clock.stands()
    clocks.wall_s += 1e9
    assert not clock.stands()
    clocks.pass_s(59.0)
    assert not clock.stands()
    clocks.pass_s(2.0)
    assert clock.stands()


def old_spool(folder: Path, epoch: int, bodies: list[bytes], done: list[int]) -> Path:
    """What an agent of before wrote (`SPG1`)."""
    head = struct.pack("<4sQQ", b"SPG1", epoch, 0)
    data = head + struct.pack("<I", crc32(head))
    for body in bodies:
        head = struct.pack("<II", len(body), crc32(body))
        data += head + struct.pack("<I", crc32(head)) + body
    file = folder / f"{epoch:010d}.0000000000.seg"
    file.write_bytes(data)
    places = [struct.pack("<I", place) for place in done]
    file.with_suffix(".done").write_bytes(b"".join(p + struct.pack("<I", crc32(p)) for p in places))
    (folder / "agent.json").write_text(f'{{"format": 1, "device": "d", "epoch": {epoch}}}\n')
    return file


def test_a_spool_of_an_older_agent_is_sent(tmp_path: Path) -> None:
    bodies = [b"first", b"", b"third", b"\xf5Fr\n" * 20]
    file = old_spool(tmp_path, 1_790_000_000, bodies, done=[2])
    clocks = Clocks()
    os.utime(file, (NOON - 60.0, NOON - 60.0))
    spool = spool_of(tmp_path, clocks)
    assert abs(spool.stats().oldest_age_s - 60.0) < 0.2  # since the last frame of the file
    spool.append(b"new", GO)
    got = [(one.epoch, one.seq, one.body) for one in iter(spool.take, None)]
    old = 1_790_000_000
    want = [(old, i, bodies[i]) for i in (0, 1, 3)]
    assert got == [*want, (spool.epoch, 0, b"new")]
    assert spool.stats().damaged == 0
    for epoch, seq, _ in got:
        assert spool.finish(epoch, seq)
    spool.close()
    assert not list(tmp_path.glob("*.seg"))
