from __future__ import annotations

from pathlib import Path

import pytest

from sparsight.errors import DataError, UsageError
from sparsight_cloud.serving.records import from_line
from sparsight_cloud.serving.segments import Segments, segment_path
from sparsight_cloud.sinks.follow import Position, end_of, follow, read_on
from sparsight_cloud.sinks.results import (
    BUNDLES,
    class_name,
    read_classes,
    require_results,
    write_classes,
)

from .written import BUNDLE, a_record, write_results


def seqs(lines: list[bytes]) -> list[int]:
    return [from_line(line).result.key.seq for line in lines]


def test_lines_come_as_they_are_written_across_files(tmp_path: Path) -> None:
    write_results(tmp_path, [a_record(0)])
    waits: list[float] = []
    nexts = iter(range(1, 8))

    def write_more(seconds: float) -> None:
        waits.append(seconds)
        write_results(tmp_path, [a_record(next(nexts))], segment_bytes=800)

    found: list[bytes] = []
    for line in follow(tmp_path, Position(1, 0), poll_s=0.3, sleep=write_more):
        if line is not None:
            found.append(line)
        if len(found) == 8:
            break
    assert seqs(found) == list(range(8))
    assert waits == [0.3] * 7
    assert segment_path(tmp_path, 3).exists()


def test_half_a_line_is_waited_for(tmp_path: Path) -> None:
    write_results(tmp_path, [a_record(0)])
    whole = segment_path(tmp_path, 1).read_bytes()
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(whole[:50])
    found = list(read_on(tmp_path, Position(1, 0)))
    assert len(found) == 1
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(whole[50:])
    assert [line for _, line in read_on(tmp_path, found[0][0])] == [whole]


def test_from_the_end_on(tmp_path: Path) -> None:
    Segments(tmp_path).close()
    assert end_of(tmp_path) == Position(1, 0)
    write_results(tmp_path, [a_record(seq) for seq in range(5)], segment_bytes=800)
    at = end_of(tmp_path)
    assert list(read_on(tmp_path, at)) == []
    write_results(tmp_path, [a_record(5)])
    assert seqs([line for _, line in read_on(tmp_path, at)]) == [5]


def test_a_folder_without_results_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cloud up"):
        require_results(tmp_path)


def test_classes_add_up(tmp_path: Path) -> None:
    assert read_classes(tmp_path) == {}
    write_classes(tmp_path, {"a": ("x",)})
    write_classes(tmp_path, {"b": ("y", "z")})
    assert read_classes(tmp_path) == {"a": ("x",), "b": ("y", "z")}
    assert class_name(read_classes(tmp_path), "b", 1) == "z"
    assert class_name(read_classes(tmp_path), "b", 2) == class_name({}, BUNDLE, 2) == "2"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 3}'])
def test_damaged_classes_are_said_so(tmp_path: Path, text: str) -> None:
    (tmp_path / BUNDLES).write_text(text)
    with pytest.raises(DataError, match=r"bundles\.json"):
        read_classes(tmp_path)
