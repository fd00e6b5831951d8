"""Beginning, going on, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from sparsight.detections import Detections
from sparsight.errors import DataError, UsageError
from sparsight.settings import DetectSettings
from sparsight.slicer import SlicerSettings
from sparsight_cloud.batch.items import Item, shards_of
from sparsight_cloud.batch.orders import Order, begin, done_shards
from sparsight_cloud.batch.rows import Made, Row, as_parquet, name_of
from sparsight_cloud.batch.store import Store

ITEMS = [Item(f"/{i}.jpg", None, None, 10 + i, f"{i}.5") for i in range(5)]
ORDER = Order("ab" * 32, "small", ("car",), DetectSettings(), 10**6, 2, 1000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "out"))


def write_shard(store: Store, number: int, failed: int = 0) -> bytes:
    shard = shards_of(ITEMS, 2)[number]
    rows = [
        Row((8, 9), Detections.empty(), 0, 0.0, 1.0, 1.0, 1.0, "bad" if i < failed else None)
        for i in range(len(shard.items))
    ]
    made = Made(len(rows), failed, 1, 10, 10, 7.0)
    data = as_parquet(shard.first, shard.items, rows, ("car",), made)
    store.write(name_of(number), data)
    return data


def test_the_same_run_goes_on(store: Store) -> None:
    assert begin(store, ORDER, ITEMS) is False
    assert begin(store, ORDER, list(ITEMS)) is True
    assert begin(Store(store.address), replace(ORDER), ITEMS) is True


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (replace(ORDER, bundle_id="cd" * 32), "bundle_id abab.* there, cdcd.* now"),
        (replace(ORDER, shard=3), "shard 2 there, 3 now"),
        (
            replace(ORDER, settings=DetectSettings(slicer=SlicerSettings(max_patches=4))),
            "slicer.max_patches None there, 4 now",
        ),
    ],
)
def test_other_settings_are_refused(store: Store, order: Order, said: str) -> None:
    begin(store, ORDER, ITEMS)
    with pytest.raises(UsageError, match=f"{said}.*give another --out"):
        begin(store, order, ITEMS)
    assert begin(store, ORDER, ITEMS)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (ITEMS[:-1], "1 gone"),
        ([*ITEMS, replace(ITEMS[0], path="/z.jpg")], r"1 new \(/z.jpg\)"),
        ([replace(ITEMS[0], changed="9"), *ITEMS[1:]], r"1 changed \(/0.jpg\)"),
        (ITEMS[::-1], "another order"),
    ],
)
def test_other_pictures_are_refused(store: Store, items: list[Item], said: str) -> None:
    begin(store, ORDER, ITEMS)
    with pytest.raises(UsageError, match=f"over other pictures: .*{said}.*another --out"):
        begin(store, ORDER, items)


def test_a_run_that_was_killed_before_it_was_noted_begins_anew(store: Store) -> None:
    begin(store, ORDER, ITEMS)
    store.forget("run.json")
    assert begin(store, ORDER, ITEMS[1:]) is False
    assert begin(store, ORDER, ITEMS[1:]) is True


def test_rows_of_nobody_knows_what_are_refused(store: Store) -> None:
    write_shard(store, 0)
    with pytest.raises(UsageError, match="run that nothing is known of"):
        begin(store, ORDER, ITEMS)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"format": 1, "order": {}}'])
def test_a_damaged_note_is_named(store: Store, data: bytes) -> None:
    store.write("run.json", data)
    with pytest.raises(DataError, match=r"run.json: damaged"):
        begin(store, ORDER, ITEMS)


def test_only_whole_shards_are_done(store: Store, tmp_path: Path) -> None:
    assert done_shards(store) == {}
    whole = write_shard(store, 0, failed=1)
    write_shard(store, 2)
    store.write(name_of(1), whole[: len(whole) // 2])
    store.write("rows/shard-x.parquet", whole)
    (tmp_path / "out/rows/shard-000001.parquet.part-1-ab").write_bytes(whole)
    assert done_shards(store) == {0: Made(2, 1, 1, 10, 10, 7.0), 2: Made(1, 0, 1, 10, 10, 7.0)}
    assert not list((tmp_path / "out/rows").glob("*.part-*"))
