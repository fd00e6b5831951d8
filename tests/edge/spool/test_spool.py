import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sparsight.errors import SpoolError, UsageError
from sparsight_edge.spool.spool import SPOOL_BYTES_MIN, Spool, SpoolSettings

GO = threading.Event()
STOP = threading.Event()
STOP.set()

DROP = SpoolSettings(SPOOL_BYTES_MIN, "drop-oldest")
BLOCK = SpoolSettings(SPOOL_BYTES_MIN, "block")


def open_spool(folder: Path, settings: SpoolSettings | None = None) -> Spool:
    return Spool(folder, "drone-1", settings)


def fill(spool: Spool, count: int, size: int = 40) -> None:
    for i in range(count):
        assert spool.append(b"%d:" % i + bytes(size), GO) is not None


def take_all(spool: Spool) -> list[tuple[int, bytes]]:
    taken = []
    while (one := spool.take()) is not None:
        taken.append((one.seq, one.body))
    return taken


def disk(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir() if f.suffix in {".seg", ".done"})


def test_frames_come_out_in_order_and_leave_when_finished(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    fill(spool, 3)
    taken = [spool.take() for _ in range(3)]
    assert spool.take() is None
    assert [one.seq for one in taken if one] == [0, 1, 2]
    assert taken[1] is not None and taken[1].body == b"1:" + bytes(40)
    assert taken[1].epoch == spool.epoch
    assert spool.finish(spool.epoch, 1) and not spool.finish(spool.epoch, 1)
    assert not spool.finish(spool.epoch, 7) and not spool.finish(spool.epoch - 1, 0)
    stats = spool.stats()
    assert (stats.appended, stats.taken, stats.finished, stats.left) == (3, 2, 1, 2)
    spool.close()


def test_given_back_frames_come_again_first(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    fill(spool, 4)
    for _ in range(3):
        spool.take()
    spool.give_back(spool.epoch, 1)
    assert [seq for seq, _ in take_all(spool)] == [1, 3]
    spool.finish(spool.epoch, 0)
    spool.give_back_all()
    assert [seq for seq, _ in take_all(spool)] == [1, 2, 3]
    spool.close()


def test_held_frames_stay_until_they_are_released(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    fill(spool, 2)
    spool.take()
    spool.hold(spool.epoch, 0)
    assert [seq for seq, _ in take_all(spool)] == [1]
    spool.give_back_all()
    assert spool.stats().held == 1
    spool.release()
    assert [seq for seq, _ in take_all(spool)] == [0, 1]
    spool.close()


def test_the_next_boot_sends_what_is_left_first(tmp_path: Path) -> None:
    first = open_spool(tmp_path)
    fill(first, 3)
    first.take()
    first.finish(first.epoch, 0)
    first.take()
    first.close()
    second = open_spool(tmp_path)
    assert second.epoch > first.epoch
    assert second.stats().inherited == 2
    assert second.append(b"new", GO) == 0
    keys = [(one.epoch, one.seq) for one in iter(second.take, None)]
    assert keys == [(first.epoch, 1), (first.epoch, 2), (second.epoch, 0)]
    for epoch, seq in keys:
        assert second.finish(epoch, seq)
    second.close()
    assert disk(tmp_path) == 0
    third = open_spool(tmp_path)
    assert third.epoch > second.epoch
    third.close()


def test_epochs_grow_without_the_file_that_counts_them(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    fill(spool, 1)
    spool.close()
    (tmp_path / "agent.json").write_text("{")
    (segment,) = tmp_path.glob("*.seg")
    late = int(time.time()) + 10**6  # a boot while the clock was wrong
    segment.rename(tmp_path / f"{late:010d}.0000000000.seg")
    again = open_spool(tmp_path)
    assert again.epoch == late + 1
    again.close()


def test_a_deleted_spool_does_not_begin_at_old_keys(tmp_path: Path) -> None:
    before = int(time.time())
    spool = open_spool(tmp_path / "new")
    assert spool.epoch > before
    spool.close()


def test_another_devices_spool_is_not_touched(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    with pytest.raises(UsageError, match="another agent is running on this spool"):
        open_spool(tmp_path)
    spool.close()
    with pytest.raises(UsageError, match="holds frames of the device 'drone-1', this one is 'b'"):
        Spool(tmp_path, "b")
    open_spool(tmp_path).close()


def test_a_spool_of_another_format_is_refused(tmp_path: Path) -> None:
    open_spool(tmp_path).close()
    told = json.loads((tmp_path / "agent.json").read_text())
    (tmp_path / "agent.json").write_text(json.dumps({**told, "format": 3}))
    with pytest.raises(SpoolError, match="a spool of format 3, this program reads 1 and 2"):
        open_spool(tmp_path)


def test_a_folder_that_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="no spool can be here"):
        open_spool(tmp_path / "file")


def test_a_full_spool_blocks_until_frames_are_answered(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, BLOCK)
    count = 0
    while spool.append(bytes(1000), STOP) is not None:
        count += 1
        assert disk(tmp_path) <= SPOOL_BYTES_MIN
    assert 55 <= count <= 65
    got: list[int | None] = []
    waiter = threading.Thread(target=lambda: got.append(spool.append(bytes(1000), GO)))
    waiter.start()
    while not spool.stats().full:
        time.sleep(0.01)
    assert got == []
    for _ in range(10):
        one = spool.take()
        assert one is not None
        spool.finish(one.epoch, one.seq)
    waiter.join(30)
    assert got == [count]
    assert not spool.stats().full and spool.stats().dropped == 0
    spool.close()


def test_a_full_spool_drops_its_oldest_and_counts_them(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, DROP)
    fill(spool, 500, 1000)
    assert disk(tmp_path) <= SPOOL_BYTES_MIN
    stats = spool.stats()
    assert stats.dropped + stats.left == stats.appended == 500
    # No more than a sixteenth goes at once.
    assert stats.left >= 0.9 * SPOOL_BYTES_MIN / 1030
    assert [seq for seq, _ in take_all(spool)] == list(range(stats.dropped, 500))
    spool.close()


def test_a_frame_larger_than_the_spool(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, DROP)
    with pytest.raises(SpoolError, match=r"does not fit into a spool of 65536; .*--spool-mb"):
        spool.append(bytes(SPOOL_BYTES_MIN), GO)
    assert spool.append(bytes(SPOOL_BYTES_MIN - 100), GO) == 0
    assert spool.append(bytes(SPOOL_BYTES_MIN - 100), GO) == 1
    assert spool.stats().dropped == 1
    spool.close()


def test_refused_frames_are_kept_for_people(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    fill(spool, 2)
    spool.take()
    assert spool.refuse(spool.epoch, 0, "BAD_PAYLOAD: checksum")
    assert not spool.refuse(spool.epoch, 0, "again")
    spool.close()
    (line,) = (tmp_path / "refused.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert (said["epoch"], said["seq"]) == (spool.epoch, 0)
    assert said["reason"] == "BAD_PAYLOAD: checksum" and len(said["message"]) == 56
    again = open_spool(tmp_path)
    assert [seq for seq, _ in take_all(again)] == [1]
    again.close()


def test_the_record_of_refused_frames_is_bounded(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, DROP)
    for i in range(100):
        spool.append(bytes(50), GO)
        spool.take()
        spool.refuse(spool.epoch, i, "bad")
    assert spool.stats().refused == 100
    spool.close()
    kept = sum(f.stat().st_size for f in tmp_path.glob("refused*"))
    assert 1000 < kept <= SPOOL_BYTES_MIN // 16


def test_a_full_disk_is_like_a_full_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool(tmp_path, SpoolSettings(1 << 20, "drop-oldest"))
    fill(spool, 300, 1000)
    write, refusals = os.write, [2]

    def full_twice(fd: int, data: bytes) -> int:
        if refusals[0] and len(data) > 500:
            refusals[0] -= 1
            write(fd, data[:100])  # a part gets through
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(os, "write", full_twice)
    fill(spool, 1, 1000)
    monkeypatch.undo()
    fill(spool, 1, 1000)
    stats = spool.stats()
    assert 0 < stats.dropped < 200 and stats.left == 302 - stats.dropped
    spool.close()
    again = open_spool(tmp_path)
    assert again.stats().damaged == 0
    assert [seq for seq, _ in take_all(again)] == list(range(stats.dropped, 302))
    again.close()


def test_a_disk_that_refuses_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool(tmp_path)

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(SpoolError, match="can't be written: Input/output error"):
        fill(spool, 1)
    monkeypatch.undo()
    fill(spool, 1)
    assert [seq for seq, _ in take_all(spool)] == [0]
    spool.close()


def test_memory_is_a_few_bytes_a_frame(tmp_path: Path) -> None:
    import tracemalloc

    spool = open_spool(tmp_path)
    fill(spool, 100)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    fill(spool, 20_000, 20)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20 * 20_000
    spool.close()


WRITER = """
import sys, threading
from pathlib import Path
from sparsight_edge.spool.spool import Spool
spool = Spool(Path(sys.argv[1]), "drone-1")
for i in range(10**9):
    spool.append(b"%d:" % i + bytes(i % 5000), threading.Event())
    print(i, flush=True)
"""


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            promised = -1
            while promised < 300:
                promised = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split("\n")
        promised = max([promised, *(int(line) for line in rest[:-1])])
        spool = open_spool(tmp_path)
        taken = list(iter(spool.take, None))
        assert spool.stats().damaged == 0
        # The last one may have been written without the promise having been read.
        assert len(taken) in (promised + 1, promised + 2)
        assert [one.seq for one in taken] == list(range(len(taken)))
        for one in taken:
            assert one.body == b"%d:" % one.seq + bytes(one.seq % 5000)
            assert spool.finish(one.epoch, one.seq)
        spool.close()


def open_files(folder: Path) -> int:
    return sum(
        link.resolve().parent == folder.resolve() and link.resolve().suffix in {".seg", ".done"}
        for link in Path("/proc/self/fd").iterdir()
    )


def test_many_files_take_few_descriptors(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, BLOCK)
    fill(spool, 12, size=3500)
    assert len(list(tmp_path.glob("*.seg"))) == 12
    taken = take_all(spool)
    assert len(taken) == 12
    for seq, _ in taken[1:]:
        spool.hold(spool.epoch, seq)
    assert open_files(tmp_path) <= 2
    assert spool.finish(spool.epoch, 0)
    spool.release()
    assert [seq for seq, _ in take_all(spool)] == list(range(1, 12))
    spool.close()
    assert open_files(tmp_path) == 0


def test_a_frame_that_cannot_be_read_now_is_not_taken_for_rotten(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    fill(spool, 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(SpoolError, match=r"can't be read: .*next run"):
            spool.take()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [seq for seq, _ in take_all(spool)] == [0, 1]
    assert spool.stats().damaged == 0
    spool.close()
