from __future__ import annotations

from pathlib import Path

import pytest

from sparsight.errors import DataError
from sparsight_cloud.serving.segments import Segments, segment_path
from sparsight_cloud.sinks.follow import START, end_of, read_on
from sparsight_cloud.sinks.results import BUNDLES, class_name, read_classes, write_classes

from .written import BUNDLE, a_record, seqs, write_results


def test_half_a_line_is_waited_for(tmp_path: Path) -> None:
    write_results(tmp_path, [a_record(0)])
    whole = segment_path(tmp_path, 1).read_bytes()
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(whole[:50])
    found = list(read_on(tmp_path, START))
    assert len(found) == 1
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(whole[50:])
    assert [line for _, line in read_on(tmp_path, found[0][0])] == [whole]


def test_from_the_end_on(tmp_path: Path) -> None:
    Segments(tmp_path).close()
    assert end_of(tmp_path) == START
    write_results(tmp_path, [a_record(seq) for seq in range(5)], segment_bytes=800)
    at = end_of(tmp_path)
    assert list(read_on(tmp_path, at)) == []
    write_results(tmp_path, [a_record(5)])
    assert seqs([line for _, line in read_on(tmp_path, at)]) == [5]


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
