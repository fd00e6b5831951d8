"""The archive: what was answered is in it once, within its bounds, and can be read back."""

import asyncio
import errno
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sparsight.codec.chain import join
from sparsight.errors import UsageError
from sparsight.frame_file import body_of, read_file
from sparsight.wire import FrameFeatures, unpack_device_message
from sparsight_cloud.serving.archive import Archive, ArchiveRule
from sparsight_cloud.serving.up import Ready

from .devices import Device, calling, hashing, run_cloud
from .hashes import a_frame
from .test_references import AnyPayload, told


def frames_in(folder: Path) -> list[FrameFeatures]:
    frames = []
    for file in sorted(folder.glob("*.seg")):
        found, data = read_file(file), file.read_bytes()
        assert found is not None and not found.rotten_tail
        for record in found.records:
            body = body_of(data[record.begin : record.end], old=False)
            assert record.whole and body is not None
            frame = unpack_device_message(body)
            assert isinstance(frame, FrameFeatures)
            frames.append(frame)
    return frames


def keep(archive: Archive, *frames: FrameFeatures) -> None:
    async def all_of() -> None:
        for frame in frames:
            await archive.keep(frame)

    asyncio.run(all_of())


def test_frames_of_several_starts(tmp_path: Path) -> None:
    frames = [a_frame(seq, device=f"drone-{seq % 2}") for seq in range(6)]
    for some in (frames[:4], frames[4:]):
        archive = Archive(tmp_path, ArchiveRule())
        keep(archive, *some)
        with pytest.raises(UsageError, match="another cloud"):
            Archive(tmp_path, ArchiveRule())
        archive.close()
    assert frames_in(tmp_path) == frames
    assert len(list(tmp_path.glob("*.seg"))) == 2


def test_the_oldest_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    archive = Archive(tmp_path, ArchiveRule(bytes_max=200_000))
    frames = [a_frame(seq, payload=b"hash" + bytes(5000)) for seq in range(100)]
    for frame in frames:
        keep(archive, frame)
        assert sum(file.stat().st_size for file in tmp_path.glob("*.seg")) <= 200_000
    archive.close()
    left = frames_in(tmp_path)
    assert left == frames[-len(left) :] and 28 <= len(left) < 40


def test_those_that_are_too_old_go(tmp_path: Path) -> None:
    archive = Archive(tmp_path, ArchiveRule(age_max_s=3600))
    keep(archive, a_frame(0))
    archive.close()
    (file,) = tmp_path.glob("*.seg")
    os.utime(file, (time.time() - 4000,) * 2)
    archive = Archive(tmp_path, ArchiveRule(age_max_s=3600))
    keep(archive, a_frame(1))
    archive.close()
    assert frames_in(tmp_path) == [a_frame(1)]


def test_a_disk_that_is_full_costs_a_record_and_no_more(tmp_path: Path) -> None:
    archive = Archive(tmp_path, ArchiveRule())
    keep(archive, a_frame(0))
    assert archive._open is not None
    good, archive._open._fd = archive._open._fd, os.open("/dev/full", os.O_WRONLY)
    keep(archive, a_frame(1))
    os.close(archive._open._fd)
    archive._open._fd = good
    keep(archive, a_frame(2))
    archive.close()
    assert frames_in(tmp_path) == [a_frame(0), a_frame(2)]


def test_a_disk_that_is_full_from_the_start_costs_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path, ArchiveRule())

    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with monkeypatch.context() as patch:
        patch.setattr("sparsight_cloud.serving.archive.header", full)
        keep(archive, *[a_frame(seq) for seq in range(40)])
    assert len(os.listdir("/proc/self/fd")) < before + 20  # noqa: PTH208
    assert not list(tmp_path.glob("*.seg"))
    keep(archive, a_frame(41))
    archive.close()
    assert frames_in(tmp_path) == [a_frame(41)]


def test_a_cloud_keeps_what_it_answered_once_and_whole(tmp_path: Path) -> None:
    first = replace(a_frame(0), keep=True)

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.send(
                [first, told(1, 0), told(2, 7)]
            )  # of the last nobody knows what it is
            await device.say(first)
            await device.hear_answers(4)

    run_cloud(tmp_path / "out", do, hashing(AnyPayload()), archive=tmp_path / "kept")
    kept = {frame.key: frame for frame in frames_in(tmp_path / "kept")}
    assert len(frames_in(tmp_path / "kept")) == len(kept) == 2
    assert kept[first.key] == first
    second = told(1, 0)
    assert kept[second.key].payload == join(first.payload, second.payload)
    assert kept[second.key].reference is None
