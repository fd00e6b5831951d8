from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sparsight.errors import DataError, UsageError
from sparsight_cloud.serving.segments import (
    LOCK,
    Segments,
    read_lines,
    segment_numbers,
    segment_path,
)


def lines_of(folder: Path) -> list[bytes]:
    segments = Segments(folder)
    try:
        return [line for _, line in segments.lines()]
    finally:
        segments.close()


def test_lines_are_where_it_was_said(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    places = segments.append([b"one\n", b"two\n"]) + segments.append([b"three\n"])
    assert [segments.read(place) for place in places] == [b"one\n", b"two\n", b"three\n"]
    assert [place for place, _ in segments.lines()] == places
    segments.close()
    assert lines_of(tmp_path) == [b"one\n", b"two\n", b"three\n"]


def test_a_file_that_is_full_is_closed_and_the_next_begun(tmp_path: Path) -> None:
    segments = Segments(tmp_path, segment_bytes=10)
    for n in range(5):
        segments.append([b"line %d\n" % n])
    segments.close()
    assert segment_numbers(tmp_path) == [1, 2, 3]
    assert lines_of(tmp_path) == [b"line %d\n" % n for n in range(5)]


def test_a_restart_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for n in range(3):
        segments = Segments(tmp_path)
        segments.append([b"line %d\n" % n])
        segments.close()
    assert segment_numbers(tmp_path) == [1]
    assert lines_of(tmp_path) == [b"line 0\n", b"line 1\n", b"line 2\n"]


@pytest.mark.parametrize("torn", [b"half a li", b"\x00" * 5000, b"x" * (3 << 20)])
def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    segments = Segments(tmp_path)
    segments.append([b"whole\n"])
    segments.close()
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(torn)
    segments = Segments(tmp_path)
    place = segments.append([b"next\n"])[0]
    assert place.offset_bytes == len(b"whole\n")
    assert segments.read(place) == b"next\n"
    segments.close()
    assert segment_path(tmp_path, 1).read_bytes() == b"whole\nnext\n"


def test_a_reader_beside_the_writer_sees_whole_lines_only(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    segments.append([b"one\n"])
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(b"tw")
    found = list(read_lines(tmp_path, 1))
    assert [line for _, line in found] == [b"one\n"]
    segments.close()


def test_two_cannot_write_to_one_folder(tmp_path: Path) -> None:
    first = Segments(tmp_path)
    with pytest.raises(UsageError, match="another cloud"):
        Segments(tmp_path)
    first.close()
    Segments(tmp_path).close()


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="change --out"):
        Segments(tmp_path / "file" / "out")


def test_a_group_that_could_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = Segments(tmp_path)
    segments.append([b"one\n"])
    real = os.write
    calls = []

    def full(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(fd, data[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no space"):
        segments.append([b"two\n", b"three\n"])
    monkeypatch.setattr(os, "write", real)
    place = segments.append([b"four\n"])[0]
    assert segments.read(place) == b"four\n"
    segments.close()
    assert lines_of(tmp_path) == [b"one\n", b"four\n"]


def test_what_could_not_be_taken_back_ends_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = Segments(tmp_path)

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    monkeypatch.setattr(os, "ftruncate", broken)
    for _ in range(2):
        with pytest.raises(OSError, match=r"error|taken back"):
            segments.append([b"one\n"])
    monkeypatch.undo()
    with pytest.raises(OSError, match="taken back"):
        segments.append([b"two\n"])
    segments.close()
    assert lines_of(tmp_path) == [b"one\n"], "once, though it was tried three times"


def test_a_file_that_something_else_cut_is_said_so(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    place = segments.append([b"one\n"])[0]
    os.truncate(segment_path(tmp_path, 1), 1)
    with pytest.raises(DataError, match="shorter"):
        segments.read(place)
    segment_path(tmp_path, 1).unlink()
    with pytest.raises(DataError, match="can't be read"):
        segments.read(place)
    segments.close()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "notes.jsonl").write_text("mine\n")
    assert lines_of(tmp_path) == []
    assert (tmp_path / LOCK).exists()
