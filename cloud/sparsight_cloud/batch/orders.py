"""What a folder of results is of: written at the first start, held against every later one.

    OUT/run.json         bundle, settings, how many items and which
    OUT/items.parquet    the list itself
    OUT/rows/            what is done: a shard's file is there whole or not at all

Going on is starting again: shards whose file is there are left out. Rows of two bundles, two
settings or two lists never come into one folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from sparsight.errors import DataError, UsageError
from sparsight.settings import DetectSettings
from sparsight_cloud.batch.items import Item, as_file, difference, digest_of, from_file
from sparsight_cloud.batch.rows import ROWS, Made, made_of, name_of
from sparsight_cloud.batch.store import Store

RUN, ITEMS = "run.json", "items.parquet"
FORMAT = 1

_ASKED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Order:
    """All that decides the rows, but the items.

    Attributes:
        bundle_id: Id of the bundle.
        bundle: Its name.
        classes: Names of its labels.
        settings: How the detector is run.
        max_pixels: The most pixels a picture may have.
        shard: Items in a shard.
        budget_cells: Kept cells in one pass through the deep part at most.
        codings: Whose recorded payloads come instead of pictures; empty for pictures.
    """

    bundle_id: str
    bundle: str
    classes: tuple[str, ...]
    settings: DetectSettings
    max_pixels: int
    shard: int
    budget_cells: int
    codings: tuple[str, ...] = ()


def begin(store: Store, order: Order, items: Sequence[Item]) -> bool:
    """Begin a run in a folder, or find that it is the one begun there.

    Returns:
        Whether it was begun earlier.

    Raises:
        UsageError: Another run was begun there, or something else lies there.
        DataError: What describes the run there is damaged.
    """
    written = store.read(RUN)
    record = json.loads(
        json.dumps(
            {
                "format": FORMAT,
                "order": asdict(order),
                "items": len(items),
                "items_sha256": digest_of(items),
            }
        )
    )
    if written is None:
        if store.names(ROWS):
            raise UsageError(
                f"{store.place(ROWS)}: rows of a run that nothing is known of ({RUN} is missing); "
                "give another --out"
            )
        store.write(ITEMS, as_file(items))
        store.write(RUN, json.dumps(record, indent=1).encode() + b"\n")
        return False
    try:
        before = json.loads(written)
        same = before["order"] == record["order"] and before["format"] == FORMAT
        same_items = before["items_sha256"] == record["items_sha256"]
        changes = [] if same else _changes(before["order"], record["order"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{store.place(RUN)}: damaged; give another --out") from error
    if not same:
        raise UsageError(
            f"{store.uri}: holds a run with other settings ({', '.join(changes) or 'format'}); "
            "start it with those, or give another --out"
        )
    if not same_items:
        raise UsageError(
            f"{store.uri}: holds a run over other pictures: {_what_changed(store, items)}; give "
            "the sources that it began with, or another --out"
        )
    return True


def done_shards(store: Store) -> dict[int, Made]:
    """The shards whose file is there and whole, and what they took, by their number."""
    store.sweep(ROWS)

    def ask(name: str) -> tuple[int, Made | None]:
        digits = name.removeprefix("shard-").removesuffix(".parquet")
        if not digits.isdecimal():
            return -1, None
        try:
            with store.open(name_of(int(digits))) as file:
                return int(digits), made_of(file)
        except OSError:  # no file after all; writing it will say why
            return int(digits), None

    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        asked = list(pool.map(ask, store.names(ROWS)))
    return {number: made for number, made in sorted(asked) if made is not None}


def _changes(before: dict[str, Any], now: dict[str, Any], within: str = "") -> list[str]:
    """Which values differ, from what to what."""
    out = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            out += _changes(old, new, f"{key}.")
        elif old != new:
            out.append(f"{within}{key} {_short(old)} there, {_short(new)} now")
    return out


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."


def _what_changed(store: Store, items: Sequence[Item]) -> str:
    listed = store.read(ITEMS)
    if listed is None:
        return f"{ITEMS} is missing"
    return difference(from_file(listed, store.place(ITEMS)), items)
