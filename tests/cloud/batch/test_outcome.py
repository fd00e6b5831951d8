"""Rows to sums, COCO and samples: what is written is read back."""

import json
import threading
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from sparsight.detections import Detections
from sparsight.errors import DataError
from sparsight.settings import DetectSettings
from sparsight.wire import FrameKey
from sparsight_cloud.batch.coco import write_coco
from sparsight_cloud.batch.items import Item, shards_of
from sparsight_cloud.batch.orders import Order
from sparsight_cloud.batch.outcome import Totals, objects_of, packing, read_rows
from sparsight_cloud.batch.rows import SCHEMA, Made, Row, as_parquet, made_of, name_of, read_parquet
from sparsight_cloud.batch.samples import spread, write_samples
from sparsight_cloud.batch.store import Store
from sparsight_cloud.batch.summary import as_json, show
from sparsight_cloud.batch.work import Pace

CLASSES = ("car", "van")
FOUND = Detections(
    np.array([[1, 2, 11, 22], [3.25, 4, 5, 8]], np.float32),
    np.array([0.9, 0.25], np.float32),
    np.array([1, 0], np.int64),
)
GOOD = Row((60, 80), FOUND, 3, 0.25, 10.0, 20.0, 30.0, None)
BAD = Row(None, Detections.empty(), 0, 0.0, 5.0, 0.0, 0.0, "/1.png: damaged")
ROWS = [GOOD, BAD, replace(GOOD, found=Detections.empty(), patches=0, kept_area=0.0)]
ORDER = Order("ab" * 32, "small", CLASSES, DetectSettings(), 10**6, 2, 1000)
MADE = [Made(2, 1, 1, 600, 600, 1.0), Made(1, 0, 0, 0, 0, 2.0)]


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    for i in range(3):
        Image.new("RGB", (80, 60), (90, 90, 90)).save(tmp_path / f"{i}.png")
    frames = [None, None, 4]
    return [Item(str(tmp_path / f"{i}.png"), frames[i], None, 1, "") for i in range(3)]


@pytest.fixture
def store(tmp_path: Path, items: list[Item]) -> Store:
    store = Store(str(tmp_path / "out"))
    for shard, made in zip(shards_of(items, 2), MADE, strict=True):
        rows = ROWS[shard.first : shard.first + 2]
        data = as_parquet(shard.first, shard.items, rows, CLASSES, made)
        assert made_of(BytesIO(data)) == made
        store.write(name_of(shard.number), data)
    return store


class Watched(BytesIO):
    """A file that knows which threads read it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.threads: set[int] = set()

    def read(self, size: int | None = -1, /) -> bytes:
        self.threads.add(threading.get_ident())
        return super().read(size)


def test_no_thread_of_arrows_has_a_file_when_the_program_ends(store: Store) -> None:
    """One that has aborts the program, now and then."""
    with store.open(name_of(0)) as file:
        data = Watched(file.read())
    assert read_parquet(data).num_rows == 2
    assert data.threads == {threading.get_ident()}


def test_rows_come_back_in_order(store: Store, items: list[Item], tmp_path: Path) -> None:
    rows = list(read_rows(store, range(2)))
    assert [(row["id"], row["path"], row["frame"]) for row in rows] == [
        (i, item.path, item.frame) for i, item in enumerate(items)
    ]
    back = objects_of(rows[0])
    np.testing.assert_array_equal(back.xyxy, FOUND.xyxy)
    np.testing.assert_array_equal(back.labels, FOUND.labels)
    assert rows[0]["classes"] == ["van", "car"]
    assert rows[1]["error"] == "/1.png: damaged" and rows[1]["width"] is None
    assert rows[1]["boxes"] == [] and rows[1]["patches"] is None
    # As one data set, the way users read it.
    table = pq.read_table(tmp_path / "out/rows")
    assert table.num_rows == 3 and table.schema.remove_metadata() == SCHEMA


def test_a_shard_without_objects_has_the_same_columns(store: Store) -> None:
    with store.open(name_of(1)) as file:
        assert pq.read_schema(file).remove_metadata() == SCHEMA


def test_damaged_rows_are_named(store: Store) -> None:
    store.write(name_of(1), b"PAR1")
    with pytest.raises(DataError, match=r"shard-000001.parquet: can't be read .*remove it"):
        list(read_rows(store, range(2)))


def test_the_summary_and_its_table(store: Store) -> None:
    totals = Totals()
    for row in read_rows(store, range(2)):
        totals.add(row)
    pace = Pace(3, 2.0, 8.0, 2)
    summary = as_json("out", ORDER, totals, packing(MADE, 1000), 0, pace)
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["pictures"], summary["failed"], summary["objects"]) == (2, 1, 2)
    assert summary["objects_by_class"] == {"van": 1, "car": 1}
    assert summary["kept_area"] == 0.125 and summary["patches_per_picture"] == 1.5
    assert summary["batches"] == {"batches": 1, "cells": 600, "filled": 0.6, "padding": 0.0}
    assert summary["this_start"]["pictures_per_s"] == 1.5
    console = Console(file=StringIO(), width=100)
    show(console, summary)
    assert isinstance(console.file, StringIO)
    for said in ("/1.png: damaged", "1.5 pictures/s", "0.0% padding", "1 van"):
        assert said in console.file.getvalue()


def test_a_run_without_a_picture_has_a_table_too() -> None:
    totals = Totals()
    totals.add({"error": "x"})
    summary = as_json("out", ORDER, totals, packing([Made(1, 1, 0, 0, 0, 1.0)], 1000), 0, None)
    show(Console(file=StringIO()), summary)
    assert summary["kept_area"] is None and summary["batches"]["filled"] is None


def test_padding_is_what_was_computed_and_not_kept() -> None:
    assert packing([Made(1, 0, 2, 90, 120, 1.0)], 100)["padding"] == 0.25


def test_coco(store: Store, items: list[Item], tmp_path: Path) -> None:
    write_coco(store, lambda: read_rows(store, range(2)), CLASSES)
    coco = json.loads((tmp_path / "out/detections.json").read_text())
    assert [(image["id"], image["file_name"]) for image in coco["images"]] == [
        (1, items[0].path),
        (3, items[2].path),
    ]
    assert coco["images"][1]["frame"] == 4
    assert coco["categories"] == [{"id": 1, "name": "car"}, {"id": 2, "name": "van"}]
    first = coco["annotations"][0]
    assert (first["image_id"], first["category_id"], first["bbox"]) == (1, 2, [1, 2, 10, 20])
    assert first["score"] == 0.9 and len(coco["annotations"]) == 2


def test_samples_are_drawn_of_good_rows(store: Store, items: list[Item], tmp_path: Path) -> None:
    pictures = [*items[:2], replace(items[2], frame=None)]
    Path(items[2].path).unlink()
    (problem,) = write_samples(store, pictures, ORDER, 3)
    assert "2.png" in problem
    (drawn,) = (tmp_path / "out/samples").iterdir()
    assert drawn.name == "000000.jpg"
    with Image.open(drawn) as picture:
        assert picture.height > 60  # with a legend below


@pytest.mark.parametrize(
    ("count", "n", "places"),
    [(3, 5, [0, 1, 2]), (10, 2, [0, 9]), (10, 1, [0]), (9, 3, [0, 4, 8]), (4, 0, [])],
)
def test_samples_are_spread(count: int, n: int, places: list[int]) -> None:
    assert spread(count, n) == places


def test_other_files_are_no_shards() -> None:
    file = BytesIO()
    pq.write_table(pa.table({"a": [1]}), file)
    assert made_of(file) is None
    assert made_of(BytesIO(b"")) is None


def test_the_largest_keys_are_written() -> None:
    key = FrameKey("drone-1", 2**64 - 1, 2**63)
    data = as_parquet(0, [Item("a", 0, 0, 1, "")], [replace(GOOD, key=key)], CLASSES, MADE[1])
    (row,) = read_parquet(BytesIO(data)).to_pylist()
    assert (row["epoch"], row["seq"]) == (2**64 - 1, 2**63)
