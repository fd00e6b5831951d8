"""Each key once, whatever dies; the killed process is a real one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sparsight.errors import DataError
from sparsight.wire import FrameStatus
from sparsight_cloud.serving.acks import ACKS
from sparsight_cloud.serving.commit import CommitFailedError, CommitLog, CommitRule
from sparsight_cloud.serving.records import Record
from sparsight_cloud.serving.segments import segment_numbers, segment_path

from .hashes import a_frame, answer

SMALL = CommitRule(segment_bytes=2000)


def a_record(seq: int, device: str = "drone-1", now_unix_ns: int = 7) -> Record:
    frame = a_frame(seq, device=device)
    return Record.of(frame, answer(frame), now_unix_ns)


def keys_on_disk(folder: Path) -> list[tuple[str, int, int]]:
    rows = []
    for number in segment_numbers(folder):
        for line in segment_path(folder, number).read_bytes().splitlines():
            raw = json.loads(line)
            rows.append((raw["device"], raw["epoch"], raw["seq"]))
    return rows


def with_log(
    folder: Path,
    do: Callable[[CommitLog], Coroutine[Any, Any, None]],
    rule: CommitRule | None = None,
    **options: Any,
) -> None:
    async def run() -> None:
        log = CommitLog(folder, rule, **options)
        log.start()
        try:
            await do(log)
        finally:
            await log.close()

    asyncio.run(run())


def test_a_committed_frame_is_on_disk_and_stays_so(tmp_path: Path) -> None:
    async def write(log: CommitLog) -> None:
        assert await log.commit(a_record(0))
        assert keys_on_disk(tmp_path) == [("drone-1", 1, 0)]
        assert a_frame(0).key in log and len(log) == 1

    async def again(log: CommitLog) -> None:
        assert a_frame(0).key in log and len(log) == 1
        assert not await log.commit(a_record(0, now_unix_ns=8))
        stored = await log.stored(a_frame(0).key)
        assert stored is not None and stored.status is FrameStatus.OK
        assert stored.detections.xyxy.tolist() == a_record(0).result.detections.xyxy.tolist()

    with_log(tmp_path, write)
    with_log(tmp_path, again)
    assert keys_on_disk(tmp_path) == [("drone-1", 1, 0)]


def test_the_same_key_at_the_same_time_is_written_once(tmp_path: Path) -> None:
    async def write(log: CommitLog) -> None:
        wrote = await asyncio.gather(*(log.commit(a_record(seq % 10)) for seq in range(50)))
        assert sum(wrote) == 10

    with_log(tmp_path, write)
    assert sorted(keys_on_disk(tmp_path)) == [("drone-1", 1, seq) for seq in range(10)]


def test_frames_that_come_together_share_a_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = []
    real = os.fdatasync

    def counted(fd: int) -> None:
        syncs.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", counted)

    async def write(log: CommitLog) -> None:
        await asyncio.gather(*(log.commit(a_record(seq)) for seq in range(100)))

    with_log(tmp_path, write)
    assert len(keys_on_disk(tmp_path)) == 100
    assert len(syncs) <= 2


def test_without_fsync_nobody_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda fd: pytest.fail("waited"))

    async def write(log: CommitLog) -> None:
        assert await log.commit(a_record(0))

    with_log(tmp_path, write, CommitRule(fsync=False))


def test_an_acknowledged_result_is_forgotten_and_its_key_is_not(tmp_path: Path) -> None:
    async def write(log: CommitLog) -> None:
        for seq in range(6):
            await log.commit(a_record(seq))
        assert log.acknowledge("drone-1", 1, [0, 1, 2, 4, 77]) == 4

    async def check(log: CommitLog) -> None:
        for seq, status in enumerate("ddd.d."):
            stored = await log.stored(a_frame(seq).key)
            assert stored is not None
            wanted = FrameStatus.ALREADY_DONE if status == "d" else FrameStatus.OK
            assert stored.status is wanted, seq
        assert not await log.commit(a_record(0))
        assert await log.stored(a_frame(6).key) is None

    with_log(tmp_path, write)
    with_log(tmp_path, check)
    with_log(tmp_path, check)
    assert len(keys_on_disk(tmp_path)) == 6


def test_lost_acknowledgements_cost_nothing_but_memory(tmp_path: Path) -> None:
    async def write(log: CommitLog) -> None:
        await log.commit(a_record(0))
        log.acknowledge("drone-1", 1, [0])

    async def check(log: CommitLog) -> None:
        stored = await log.stored(a_frame(0).key)
        assert stored is not None and stored.status is FrameStatus.OK

    with_log(tmp_path, write)
    (tmp_path / ACKS).write_bytes(b'{"device": "drone-1", "epo')
    with_log(tmp_path, check)


def test_acknowledgements_stay_short(tmp_path: Path) -> None:
    async def write(log: CommitLog) -> None:
        for seq in range(300):
            await log.commit(a_record(seq))
            log.acknowledge("drone-1", 1, [seq])

    with_log(tmp_path, write, SMALL)
    with_log(tmp_path, lambda log: asyncio.sleep(0))
    line = json.loads((tmp_path / ACKS).read_text())
    assert line == {"device": "drone-1", "epoch": 1, "runs": [[0, 300]]}


def test_full_files_are_closed_and_told_of(tmp_path: Path) -> None:
    closed: list[Path] = []

    async def write(log: CommitLog) -> None:
        for seq in range(20):
            await log.commit(a_record(seq))

    with_log(tmp_path, write, SMALL, saw_closed=closed.append)
    numbers = segment_numbers(tmp_path)
    assert len(numbers) > 2
    assert closed == [segment_path(tmp_path, number) for number in numbers[:-1]]
    assert [seq for _, _, seq in keys_on_disk(tmp_path)] == list(range(20))


def test_a_full_disk_is_no_commit_and_the_next_try_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write(log: CommitLog) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "no space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(os, "write", full)
            tries = [log.commit(a_record(0)), log.commit(a_record(0)), log.commit(a_record(1))]
            for outcome in await asyncio.gather(*tries, return_exceptions=True):
                assert isinstance(outcome, CommitFailedError)
        assert a_frame(0).key not in log
        assert await log.commit(a_record(0))

    with_log(tmp_path, write)
    assert keys_on_disk(tmp_path) == [("drone-1", 1, 0)]


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    async def run() -> None:
        log = CommitLog(tmp_path)
        log.start()
        tasks = [asyncio.create_task(log.commit(a_record(seq))) for seq in range(5)]
        await asyncio.sleep(0)
        await log.close()
        assert all(await asyncio.gather(*tasks))
        with pytest.raises(CommitFailedError):
            await log.commit(a_record(9))

    asyncio.run(run())
    assert len(keys_on_disk(tmp_path)) == 5


def test_a_damaged_line_is_named_and_nothing_is_done(tmp_path: Path) -> None:
    async def write(log: CommitLog) -> None:
        await log.commit(a_record(0))

    with_log(tmp_path, write)
    path = segment_path(tmp_path, 1)
    before = path.read_bytes() + b"{damaged}\n"
    path.write_bytes(before)
    with pytest.raises(DataError, match=r"000001\.jsonl: byte \d+"):
        CommitLog(tmp_path)
    assert path.read_bytes() == before
    path.unlink()
    with_log(tmp_path, write)  # the folder is free again


WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from hashes import a_frame, answer
from sparsight_cloud.serving.commit import CommitLog, CommitRule
from sparsight_cloud.serving.records import Record

async def main():
    log = CommitLog(Path(sys.argv[1]), CommitRule(fsync=False, segment_bytes=50_000))
    log.start()
    async def one(seq):
        frame = a_frame(seq)
        await log.commit(Record.of(frame, answer(frame), 7))
        sys.stdout.write(f"{seq}\\n"); sys.stdout.flush()
    for start in range(0, 1_000_000, 16):
        await asyncio.gather(*(one(seq) for seq in range(start, start + 16)))

asyncio.run(main())
"""


@pytest.mark.parametrize("after_lines", [1, 40, 300, 1500])
def test_killed_at_any_moment_nothing_is_lost_and_nothing_double(
    tmp_path: Path, after_lines: int
) -> None:
    """Three lives of one log, each killed while it writes, all sending the same keys."""
    told: set[int] = set()
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            text=True,
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(int(line))
            if len(said) == after_lines:
                threading.Timer(
                    0.001 * (after_lines % 7), process.send_signal, [signal.SIGKILL]
                ).start()
        process.wait()
        process.stdout.close()
        assert len(said) >= after_lines
        told |= set(said)
    with_log(tmp_path, lambda log: asyncio.sleep(0))
    counts = Counter(seq for _, _, seq in keys_on_disk(tmp_path))
    assert set(counts.values()) == {1}
    assert told <= set(counts)
