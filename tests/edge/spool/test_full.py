"""A spool that is full, and a disk that is: what becomes of frames, and what is said."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsight.errors import SpoolError
from sparsight_edge.spool.settings import SPOOL_BYTES_MIN, SpoolSettings, WhenFull
from sparsight_edge.spool.spool import Spool

GO = threading.Event()
STOP = threading.Event()
STOP.set()
BODY_BYTES = 1000
LARGE = 1 << 20
"""More than the disk of these tests has."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("a small disk can't be made here: no program `mount`")
    if mounted.returncode:
        pytest.skip(f"a small disk can't be made here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def open_spool(folder: Path, when_full: WhenFull, max_bytes: int = LARGE) -> Spool:
    return Spool(folder / "spool", "d", SpoolSettings(max_bytes, when_full))


def append(spool: Spool, count: int) -> list[int]:
    """Numbers of those that were kept."""
    body = bytes(BODY_BYTES)
    kept = [spool.append(b"%d:" % spool.next_seq + body, STOP) for _ in range(count)]
    return [seq for seq in kept if seq is not None]


def left(spool: Spool) -> list[int]:
    taken = list(iter(spool.take, None))
    assert all(one.body.startswith(b"%d:" % one.seq) for one in taken)
    return [one.seq for one in taken]


def fill_the_rest(folder: Path) -> Path:
    """Somebody else takes what is left of the disk."""
    file = folder / "somebody else's"
    with file.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))
    assert shutil.disk_usage(folder).free == 0
    return file


def test_drop_newest_keeps_what_is_there(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, "drop-newest", SPOOL_BYTES_MIN)
    kept = append(spool, 100)
    stats = spool.stats()
    assert kept == list(range(len(kept))) and 50 < len(kept) < 70
    assert (stats.dropped_new, stats.dropped, stats.full) == (100 - len(kept), 0, True)
    assert stats.appended == stats.left == len(kept)
    for seq in range(10):
        one = spool.take()
        assert one is not None and one.seq == seq
        spool.finish(one.epoch, seq)
    assert append(spool, 1) == [len(kept)]  # no number is left out
    assert not spool.stats().full
    spool.close()


def test_stop_says_so_and_keeps_what_is_there(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, "stop", SPOOL_BYTES_MIN)
    with pytest.raises(SpoolError, match=r"is full and was to stop then; its \d+ frames stay") as e:
        append(spool, 100)
    assert e.value.exit_code == 8
    count = spool.stats().left
    spool.close()
    again = open_spool(tmp_path, "block")
    assert left(again) == list(range(count))
    again.close()


def test_a_full_disk_drops_the_oldest(disk: Path) -> None:
    spool = open_spool(disk, "drop-oldest")
    assert append(spool, 1000) == list(range(1000))
    stats = spool.stats()
    assert stats.dropped + stats.left == 1000 and stats.dropped_new == 0
    assert stats.left > 300
    assert left(spool) == list(range(stats.dropped, 1000))
    spool.close()


def test_a_full_disk_drops_the_newest(disk: Path) -> None:
    spool = open_spool(disk, "drop-newest")
    kept = append(spool, 1000)
    stats = spool.stats()
    assert kept == list(range(len(kept))) and len(kept) > 300
    assert (stats.dropped_new, stats.dropped) == (1000 - len(kept), 0)
    spool.close()
    again = open_spool(disk, "drop-newest")
    assert left(again) == kept and again.stats().damaged == 0
    again.close()


def test_a_full_disk_stops(disk: Path) -> None:
    spool = open_spool(disk, "stop")
    with pytest.raises(SpoolError, match=r"frames stay.*Make room on the disk"):
        append(spool, 1000)
    count = spool.stats().left
    spool.close()
    assert count > 300
    again = open_spool(disk, "stop")
    assert left(again) == list(range(count))
    again.close()


def test_a_full_disk_lets_wait(disk: Path) -> None:
    spool = open_spool(disk, "block")
    kept = append(spool, 1000)
    assert kept == list(range(len(kept))) and len(kept) > 300
    got: list[int | None] = []
    waiter = threading.Thread(target=lambda: got.append(spool.append(bytes(BODY_BYTES), GO)))
    waiter.start()
    while waiter.is_alive():
        one = spool.take()
        if one is not None:
            spool.finish(one.epoch, one.seq)
    assert got == [len(kept)]
    assert spool.waited_s > 0.0
    stats = spool.stats()
    assert (stats.dropped, stats.dropped_new, stats.full) == (0, 0, False)
    spool.close()


@pytest.mark.parametrize("when_full", ["drop-oldest", "drop-newest"])
def test_a_disk_that_others_filled_ends_no_camera(disk: Path, when_full: WhenFull) -> None:
    spool = open_spool(disk, when_full)
    others = fill_the_rest(disk)
    assert append(spool, 20) == []
    stats = spool.stats()
    assert (stats.dropped_new, stats.left, stats.full) == (20, 0, True)
    others.unlink()
    assert append(spool, 20) == list(range(20))
    assert left(spool) == list(range(20))
    spool.close()


def test_a_disk_that_others_filled_is_told_to_who_would_wait(disk: Path) -> None:
    spool = open_spool(disk, "block")
    fill_the_rest(disk)
    with pytest.raises(SpoolError, match="can't be written: No space left on device; make room"):
        append(spool, 1)
    spool.close()


def test_an_agent_that_starts_on_a_full_disk_sends_what_it_has(disk: Path) -> None:
    spool = open_spool(disk, "drop-newest")
    kept = append(spool, 20)
    first = spool.epoch
    spool.close()
    told = (disk / "spool" / "agent.json").read_text()
    others = fill_the_rest(disk)
    spool = open_spool(disk, "drop-newest")
    assert (disk / "spool" / "agent.json").read_text() == told  # there was no room for a new one
    assert append(spool, 1) == []
    assert left(spool) == kept
    for seq in kept:
        assert spool.finish(first, seq)
    others.unlink()
    assert append(spool, 1) == [0]
    # What makes a boot's keys its own is there before its first frame.
    assert f'"epoch": {spool.epoch}' in (disk / "spool" / "agent.json").read_text()
    assert sorted(file.name for file in (disk / "spool").iterdir() if file.suffix == ".new") == []
    spool.close()


def test_a_disk_that_can_only_be_read_ends_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a memory card becomes when it is worn out: nothing is written, nor deleted."""
    spool = open_spool(tmp_path, "drop-oldest", SPOOL_BYTES_MIN)
    append(spool, 30)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "write", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(SpoolError, match="can't be written: Read-only file system"):
        append(spool, 1)
    for seq in range(30):
        assert spool.finish(spool.epoch, seq)
    monkeypatch.undo()
    spool.close()
