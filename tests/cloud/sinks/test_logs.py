"""Logs of several gateways, which count as one."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sparsight.errors import DataError, UsageError
from sparsight_cloud.serving.segments import segment_path
from sparsight_cloud.sinks.coco import export_coco
from sparsight_cloud.sinks.logs import (
    all_records,
    classes_of,
    ends_of,
    follow,
    logs_of,
    require_results,
)
from sparsight_cloud.sinks.parquet import export_parquet
from sparsight_cloud.sinks.results import write_classes

from .written import CLASSES, a_record, seqs, write_results


@pytest.fixture
def two_gateways(tmp_path: Path) -> Path:
    """Frames 0 to 5: 2 and 3 in both logs, 2 first in one and 3 in the other."""
    rows = {
        "b": [(0, 0.0), (2, 2.0), (3, 5.0), (5, 6.0)],
        "a": [(1, 1.0), (3, 3.0), (2, 4.0), (4, 4.5)],
    }
    for name, frames in rows.items():
        records = [a_record(seq, committed_s=at_s) for seq, at_s in frames]
        write_results(tmp_path / name, records, segment_bytes=800)
    return tmp_path


def test_lines_come_as_they_are_written_across_files(tmp_path: Path) -> None:
    write_results(tmp_path, [a_record(0)])
    waits: list[float] = []
    nexts = iter(range(1, 8))

    def write_more(seconds: float) -> None:
        waits.append(seconds)
        write_results(tmp_path, [a_record(next(nexts))], segment_bytes=800)

    found: list[bytes] = []
    for line in follow(tmp_path, {}, poll_s=0.3, sleep=write_more):
        if line is not None:
            found.append(line)
        if len(found) == 8:
            break
    assert seqs(found) == list(range(8))
    assert waits == [0.3] * 7
    assert segment_path(tmp_path, 3).exists()


def test_a_folder_without_results_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cloud up"):
        require_results(tmp_path)


def test_each_frame_counts_once_as_it_was_committed_first(two_gateways: Path) -> None:
    records = list(all_records(ends_of(two_gateways)))
    assert [record.result.key.seq for record in records] == [0, 1, 2, 3, 4, 5]
    first_ns = records[0].committed_unix_ns
    after_s = [(record.committed_unix_ns - first_ns) / 1e9 for record in records]
    assert after_s == [0.0, 1.0, 2.0, 3.0, 4.5, 6.0]


def test_exports_have_each_frame_once(two_gateways: Path, tmp_path: Path) -> None:
    assert export_parquet(two_gateways, tmp_path / "all.parquet") == 6
    assert pq.read_table(tmp_path / "all.parquet")["seq"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert export_coco(two_gateways, tmp_path / "all.json") == 6
    found = json.loads((tmp_path / "all.json").read_text())
    assert [image["seq"] for image in found["images"]] == [0, 1, 2, 3, 4, 5]
    assert [a["image_id"] for a in found["annotations"]] == sorted([1, 2, 3, 4, 5, 6] * 2)


def test_what_comes_later_is_not_read(two_gateways: Path) -> None:
    ends = ends_of(two_gateways)
    write_results(two_gateways / "a", [a_record(6, committed_s=0.1)])  # a clock that is behind
    assert len(list(all_records(ends))) == 6
    assert len(list(all_records(ends_of(two_gateways)))) == 7


def test_a_gateway_that_comes_later_is_followed_from_its_first_line(two_gateways: Path) -> None:
    def add(_: float) -> None:
        write_results(two_gateways / "c", [a_record(5), a_record(6)])

    found = follow(two_gateways, ends_of(two_gateways), sleep=add)
    assert next(found) is None
    # 5 was there before anyone looked: only the lines since then are known.
    assert seqs(line for line in itertools.islice(found, 2) if line) == [5, 6]


def test_followed_from_the_beginning_each_frame_comes_once(two_gateways: Path) -> None:
    lines = itertools.takewhile(lambda line: line is not None, follow(two_gateways, {}))
    assert sorted(seqs(line for line in lines if line)) == [0, 1, 2, 3, 4, 5]


def test_a_damaged_line_is_said_with_its_place(two_gateways: Path) -> None:
    file = segment_path(two_gateways / "b", 1)
    whole = file.read_bytes()
    file.write_bytes(b"x" + whole[1:])
    with pytest.raises(DataError, match=r"b/results/000001\.jsonl: byte 0: no line of results"):
        list(itertools.islice(follow(two_gateways, {}), 9))


def test_logs_are_found_in_a_folder_and_right_below_it(two_gateways: Path) -> None:
    assert logs_of(two_gateways) == [two_gateways / "a", two_gateways / "b"]
    assert logs_of(two_gateways / "a") == [two_gateways / "a"]
    write_results(two_gateways, [a_record(9)])
    assert logs_of(two_gateways) == [two_gateways, two_gateways / "a", two_gateways / "b"]


def test_classes_of_all_gateways_are_known(two_gateways: Path) -> None:
    write_classes(two_gateways / "b", {"ef" * 32: ("boat",)})
    assert classes_of(two_gateways) == {**CLASSES, "ef" * 32: ("boat",)}
