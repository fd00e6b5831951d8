from dataclasses import replace

import pytest

from sparsight.errors import DataError, UsageError
from sparsight_cloud.batch.items import (
    Item,
    as_file,
    difference,
    digest_of,
    from_file,
    shards_of,
)

ITEMS = [
    Item("/a.jpg", None, None, 10, "1.5"),
    Item("/b.mp4", 0, 0, 99, "2.5"),
    Item("/b.mp4", 7, 3584, 99, "2.5"),
    Item("s3://bucket/c.png", None, None, -1, ""),
]


def test_a_list_survives_its_file() -> None:
    assert from_file(as_file(ITEMS), "items") == ITEMS


def test_a_name_that_no_table_can_hold_is_said() -> None:
    with pytest.raises(UsageError, match=r"/\\udcff.png': the name is not UTF-8"):
        as_file([*ITEMS, Item("/\udcff.png", None, None, 1, "")])


def test_a_damaged_list_is_named() -> None:
    with pytest.raises(DataError, match="items: damaged"):
        from_file(as_file(ITEMS)[:-9], "items")


def test_every_item_is_in_one_shard_in_its_place() -> None:
    shards = shards_of(ITEMS, 3)
    assert [(s.number, s.first, len(s.items)) for s in shards] == [(0, 0, 3), (1, 3, 1)]
    assert [item for s in shards for item in s.items] == ITEMS


def test_every_change_gives_another_digest() -> None:
    changes = [
        ITEMS[:-1],
        ITEMS[::-1],
        [*ITEMS[:1], replace(ITEMS[1], changed="3"), *ITEMS[2:]],
        [*ITEMS[:2], replace(ITEMS[2], frame=8), *ITEMS[3:]],
        [replace(ITEMS[0], size_bytes=11), *ITEMS[1:]],
    ]
    assert len({digest_of(items) for items in [ITEMS, *changes]}) == 1 + len(changes)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (ITEMS, ""),
        (ITEMS[::-1], "the same in another order"),
        (ITEMS[1:], r"1 gone (/a.jpg)"),
        ([*ITEMS, Item("/z.jpg", None, None, 1, "")], "1 new (/z.jpg)"),
        ([replace(ITEMS[0], changed="9"), *ITEMS[1:]], "1 changed (/a.jpg)"),
        ([*ITEMS[:2], *ITEMS[3:]], "1 gone (/b.mp4, frame 7)"),
    ],
)
def test_what_changed_is_said(now: list[Item], said: str) -> None:
    assert difference(ITEMS, now) == said
