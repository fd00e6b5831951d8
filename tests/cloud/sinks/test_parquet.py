from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sparsight.errors import DataError
from sparsight_cloud.serving.segments import segment_numbers, segment_path
from sparsight_cloud.sinks.parquet import ParquetSink, export_parquet

from .written import BUNDLE, CAPTURED_UNIX_NS, OTHER, a_record, a_refusal, write_results


def tables(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "parquet").iterdir())


def test_a_row_a_frame(tmp_path: Path) -> None:
    records = [a_record(0), a_record(1, 0), a_refusal(2), a_record(2**64 - 1, bundle_id=OTHER)]
    write_results(tmp_path, records)
    assert export_parquet(tmp_path, tmp_path / "all.parquet") == 4
    rows = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["seq"] for row in rows] == [0, 1, 2, 2**64 - 1]
    assert [row["status"] for row in rows] == ["ok", "ok", "bad_payload", "ok"]
    assert rows[0]["objects"][0] == {
        "x0": 0.0,
        "y0": 1.0,
        "x1": 11.0,
        "y1": 21.0,
        "score": pytest.approx(0.9),
        "label": 0,
        "class": "car",
    }
    assert [o["class"] for o in rows[3]["objects"]] == ["person", "car"]
    assert rows[1]["objects"] == rows[2]["objects"] == []
    captured = rows[0]["captured"]
    assert captured.utcoffset() == datetime.timedelta(0)
    assert int(captured.timestamp() * 1e6) == CAPTURED_UNIX_NS // 1000
    assert (rows[0]["frame_height"], rows[0]["frame_width"]) == (1080, 1920)
    assert rows[0]["lat_deg"] is None and rows[1]["lat_deg"] == 48.1
    assert rows[0]["bundle_id"] == BUNDLE and rows[2]["bundle_id"] == ""


def test_numbers_are_those_of_the_lines_to_the_bit(tmp_path: Path) -> None:
    record = a_record(0, 9)
    write_results(tmp_path, [record])
    export_parquet(tmp_path, tmp_path / "all.parquet")
    objects = pq.read_table(tmp_path / "all.parquet").to_pylist()[0]["objects"]
    assert [o["score"] for o in objects] == record.result.detections.scores.tolist()
    assert [o["x1"] for o in objects] == record.result.detections.xyxy[:, 2].tolist()


def test_a_closed_file_has_a_table_and_the_open_one_at_the_end(tmp_path: Path) -> None:
    write_results(tmp_path, [a_record(seq) for seq in range(10)], segment_bytes=1500)
    n = len(segment_numbers(tmp_path))
    assert n > 2
    sink = ParquetSink(tmp_path)
    sink.catch_up()
    assert tables(tmp_path) == [f"{i:06d}.parquet" for i in range(1, n)]
    sink.finish()
    assert tables(tmp_path) == [f"{i:06d}.parquet" for i in range(1, n + 1)]
    rows = pq.read_table(tmp_path / "parquet").to_pylist()
    assert sorted(row["seq"] for row in rows) == list(range(10))


def test_a_table_is_written_again_only_if_its_lines_grew(tmp_path: Path) -> None:
    write_results(tmp_path, [a_record(0)])
    ParquetSink(tmp_path).finish()
    table = tmp_path / "parquet" / "000001.parquet"
    before = table.stat().st_mtime_ns
    ParquetSink(tmp_path).finish()
    assert table.stat().st_mtime_ns == before
    write_results(tmp_path, [a_record(1)])
    ParquetSink(tmp_path).finish()
    assert [row["seq"] for row in pq.read_table(table).to_pylist()] == [0, 1]


def test_half_a_table_of_a_killed_process_is_written_again(tmp_path: Path) -> None:
    write_results(tmp_path, [a_record(0)])
    ParquetSink(tmp_path).finish()
    table = tmp_path / "parquet" / "000001.parquet"
    table.write_bytes(table.read_bytes()[:-20])
    ParquetSink(tmp_path).finish()
    assert pq.read_table(table).num_rows == 1


def test_a_damaged_line_is_named_and_leaves_no_table(tmp_path: Path) -> None:
    write_results(tmp_path, [a_record(0)])
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(DataError, match=r"000001\.jsonl: byte"):
        export_parquet(tmp_path, tmp_path / "all.parquet")
    assert not list(tmp_path.glob("*.parquet")) and not list(tmp_path.glob(".*"))


def test_no_results_are_an_empty_table(tmp_path: Path) -> None:
    write_results(tmp_path, [])
    assert export_parquet(tmp_path, tmp_path / "all.parquet") == 0
    assert pq.read_table(tmp_path / "all.parquet").num_rows == 0
