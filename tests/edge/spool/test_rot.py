"""What rots on a disk costs the frame that it hits, and is counted."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import threading
from pathlib import Path
from zlib import crc32

import pytest

from sparsight.errors import SpoolError
from sparsight.frame_file import HEADER, MARK, RECORD, record, seed_of
from sparsight_edge.spool.spool import Spool

GO = threading.Event()
BODIES = [b"1st", MARK + b"second", b"", b"4th", b"5th"]


@pytest.fixture(scope="module")
def left_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boot")
    spool = Spool(folder, "d")
    for body in BODIES:
        spool.append(body, GO)
    spool.finish(spool.epoch, 2)
    spool.close()
    return folder


def segment_in(folder: Path) -> Path:
    (file,) = folder.glob("*.seg")
    return file


def hit_by(at: int) -> int | None:
    """Which frame a byte of the file belongs to; None for the header."""
    end = HEADER.size
    for place, body in enumerate(BODIES):
        if at < end:
            return None
        end += RECORD.size + len(body)
        if at < end:
            return place
    raise AssertionError(at)


def reopen(folder: Path) -> tuple[dict[int, bytes], int]:
    spool = Spool(folder, "d")
    found = {one.seq: one.body for one in iter(spool.take, None)}
    damaged = spool.stats().damaged
    spool.close()
    return found, damaged


def test_a_bit_flipped_in_any_byte_costs_the_frame_that_it_hits(
    left_over: Path, tmp_path: Path
) -> None:
    whole = segment_in(left_over).read_bytes()
    for at in range(len(whole)):
        folder = tmp_path / str(at)
        shutil.copytree(left_over, folder)
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        segment_in(folder).write_bytes(flipped)
        want = {seq: body for seq, body in enumerate(BODIES) if seq not in (2, hit_by(at))}
        assert reopen(folder) == (want, int(hit_by(at) is not None)), at


def test_a_flip_in_the_done_list_sends_a_frame_again_and_loses_none(
    left_over: Path, tmp_path: Path
) -> None:
    (done,) = left_over.glob("*.done")
    whole = done.read_bytes()
    for bit in range(8 * len(whole)):
        folder = tmp_path / str(bit)
        shutil.copytree(left_over, folder)
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / done.name).write_bytes(flipped)
        assert reopen(folder) == (dict(enumerate(BODIES)), 0), bit


def test_several_that_rotted_in_a_row_keep_the_numbers_of_the_rest(
    left_over: Path, tmp_path: Path
) -> None:
    shutil.copytree(left_over, tmp_path, dirs_exist_ok=True)
    data = bytearray(segment_in(tmp_path).read_bytes())
    second = HEADER.size + RECORD.size + len(BODIES[0])
    fourth = second + 2 * RECORD.size + len(BODIES[1]) + len(BODIES[2])
    data[second : fourth + 3] = os.urandom(fourth + 3 - second)
    segment_in(tmp_path).write_bytes(data)
    assert reopen(tmp_path) == ({0: BODIES[0], 4: BODIES[4]}, 3)


@pytest.mark.parametrize("header", [b"SPG1", b"\0" * HEADER.size, b"\xff" * HEADER.size])
def test_a_header_that_says_something_else_costs_nothing(
    left_over: Path, tmp_path: Path, header: bytes
) -> None:
    shutil.copytree(left_over, tmp_path, dirs_exist_ok=True)
    file = segment_in(tmp_path)
    file.write_bytes(header + file.read_bytes()[len(header) :])
    assert reopen(tmp_path) == ({seq: body for seq, body in enumerate(BODIES) if seq != 2}, 0)


def test_nothing_is_left_but_the_name(left_over: Path, tmp_path: Path) -> None:
    shutil.copytree(left_over, tmp_path, dirs_exist_ok=True)
    file = segment_in(tmp_path)
    file.write_bytes(b"\xff" * file.stat().st_size)
    assert reopen(tmp_path) == ({}, 1)
    assert not file.exists()


def test_frames_inside_of_a_frame_are_not_taken_for_frames(tmp_path: Path) -> None:
    """A body may hold anything: here another spool's records, and marks."""
    spool = Spool(tmp_path, "d")
    other = record(seed_of(spool.epoch, 77), 1, b"not ours", 0, 0)
    bodies = [MARK * 50, other * 3, b"after it"]
    for body in bodies:
        spool.append(body, GO)
    spool.close()
    data = bytearray(segment_in(tmp_path).read_bytes())
    data[HEADER.size + RECORD.size + len(bodies[0]) + 6] ^= 1  # of the second one's head
    segment_in(tmp_path).write_bytes(data)
    assert reopen(tmp_path) == ({0: bodies[0], 2: bodies[2]}, 1)


def test_a_part_that_the_disk_lost_costs_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, "d")
    bodies = [b"%d:" % i + bytes(3000) for i in range(8)]
    for body in bodies:
        spool.append(body, GO)
    spool.close()
    pread = os.pread

    def bad_sector(fd: int, count: int, at: int) -> bytes:
        if at <= 9000 < at + count:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, count, at)

    monkeypatch.setattr(os, "pread", bad_sector)
    found, damaged = reopen(tmp_path)
    assert damaged == 8 - len(found) <= 3
    assert found == {seq: bodies[seq] for seq in found}


def test_a_file_of_a_later_version_is_not_touched(tmp_path: Path) -> None:
    Spool(tmp_path, "d").close()
    head = struct.pack("<4sQQ", b"SPG7", 5, 0)
    file = tmp_path / "0000000005.0000000000.seg"
    file.write_bytes(head + struct.pack("<I", crc32(head)) + bytes(100))
    for _ in range(2):
        with pytest.raises(SpoolError, match="frames of format SPG7, this program reads SPG1 and"):
            Spool(tmp_path, "d")
    assert file.exists()


def test_a_file_that_is_not_the_spools_is_let_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.seg").write_bytes(b"my own")
    assert reopen(tmp_path) == ({}, 0)
    assert (tmp_path / "mine.seg").read_bytes() == b"my own"
