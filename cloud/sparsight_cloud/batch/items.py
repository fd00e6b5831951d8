"""What is to be done: a list of items in a fixed order, cut into shards.

    item 0, item 1, ... item n-1  ──every `shard` of them──>  shard 0, shard 1, ...

An item is a picture, or one frame of a film. Its id is its place in the list. The list is made once
and kept beside the results; a later start that finds another list refuses to go on. A shard is what
is computed, written and taken up again as a whole, so the rows of an item depend on the list alone,
never on how many processes there were or when one died.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from sparsight.errors import DataError, UsageError

_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("frame", pa.int64()),
        ("stamp", pa.int64()),
        ("size_bytes", pa.int64()),
        ("changed", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Item:
    """One picture to look at.

    Attributes:
        path: Absolute path of a local file, or the URI of one elsewhere.
        frame: Place of the frame in its film; None of a picture.
        stamp: The frame's time stamp, in the film's own units; None where the film has none.
        size_bytes: Of the file; -1 where it could not be asked.
        changed: When the file was changed last, in the words of where it lies; "" where unknown.
    """

    path: str
    frame: int | None
    stamp: int | None
    size_bytes: int
    changed: str

    @property
    def name(self) -> str:
        """What people call it."""
        return self.path if self.frame is None else f"{self.path}, frame {self.frame}"


@dataclass(frozen=True, slots=True)
class Shard:
    """Items that are done together.

    Attributes:
        number: From 0.
        first: Id of its first item.
        items: At least one.
    """

    number: int
    first: int
    items: tuple[Item, ...]


def shards_of(items: Sequence[Item], size: int) -> list[Shard]:
    """Cut a list.

    Args:
        items: All of them, in order.
        size: Items in a shard; the last may have fewer.
    """
    return [
        Shard(number, first, tuple(items[first : first + size]))
        for number, first in enumerate(range(0, len(items), size))
    ]


def as_file(items: Sequence[Item]) -> bytes:
    """A list as the bytes of a Parquet file.

    Raises:
        UsageError: A name can't be written down.
    """
    columns = {f.name: [getattr(item, f.name) for item in items] for f in fields(Item)}
    file = BytesIO()
    try:
        table = pa.table(columns, schema=_SCHEMA)
    except UnicodeEncodeError as error:
        raise UsageError(f"{error.object!a}: the name is not UTF-8; rename the file") from error
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def from_file(data: bytes, name: str) -> list[Item]:
    """A list from the bytes of its file.

    Args:
        data: What `as_file` made.
        name: What errors call the file.

    Raises:
        DataError: It is none, or damaged.
    """
    try:
        # In this thread: see `rows.read_parquet`.
        rows = pq.ParquetFile(BytesIO(data)).read(use_threads=False).cast(_SCHEMA).to_pylist()
    except (ValueError, OSError) as error:
        raise DataError(f"{name}: damaged ({error}); give another --out and begin anew") from error
    return [Item(**row) for row in rows]


def digest_of(items: Sequence[Item]) -> str:
    """A number for a list: another one for any other list."""
    sha = hashlib.sha256()
    for item in items:
        sha.update(repr(tuple(getattr(item, f.name) for f in fields(Item))).encode())
    return sha.hexdigest()


def difference(before: Sequence[Item], now: Sequence[Item]) -> str:
    """How two lists differ, in words; empty if they don't."""
    old = {(item.path, item.frame): item for item in before}
    new = {(item.path, item.frame): item for item in now}
    groups = (
        ("new", [item for key, item in new.items() if key not in old]),
        ("gone", [item for key, item in old.items() if key not in new]),
        ("changed", [item for key, item in new.items() if old.get(key, item) != item]),
    )
    said = [f"{len(some)} {word} ({some[0].name})" for word, some in groups if some]
    if not said and list(before) != list(now):
        return "the same in another order"
    return ", ".join(said)
