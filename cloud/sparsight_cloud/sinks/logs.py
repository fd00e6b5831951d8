"""Results of several gateways, each of which writes a log of its own, as one.

    OUT/results/...         a gateway's own               log a ─┐ by time  ┌─ key seen? left out
    OUT/NAME/results/...    of several, below one folder  log b ─┴─ of ─────┴─> each frame once
                                                                   commit

A device whose gateway dies goes to another and sends again what it has no answer for, so a frame
may stand in two logs. The model is pure: the lines say the same. What counts is the one that was
committed first, by the gateways' clocks.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from sparsight.errors import DataError, UsageError
from sparsight.wire import FrameKey
from sparsight_cloud.serving.key_index import KeyIndex
from sparsight_cloud.serving.records import Record, key_of_line
from sparsight_cloud.serving.segments import RESULTS, segment_path
from sparsight_cloud.sinks.follow import START, Position, end_of, read_on
from sparsight_cloud.sinks.results import Classes, read_classes, records_until

T = TypeVar("T")

Ends = Mapping[Path, Position]
"""How far each log goes."""


def logs_of(out: Path) -> list[Path]:
    """The folders of the gateways that have written: `out` itself, and those right below it."""
    try:
        below = sorted(path for path in out.iterdir() if path.is_dir())
    except OSError:
        below = []
    return [folder for folder in (out, *below) if (folder / RESULTS).is_dir()]


def require_results(out: Path) -> None:
    """Check that a folder is one of results, or has such folders in it.

    Raises:
        UsageError: It is none.
    """
    if not logs_of(out):
        raise UsageError(
            f"{out}: no results here; expected the --out folder of `sparsight cloud up`, or the "
            "folder above those of several gateways"
        )


def ends_of(out: Path) -> Ends:
    """How far the logs go by now."""
    return {log: end_of(log) for log in logs_of(out)}


def all_records(ends: Ends) -> Iterator[Record]:
    """Every frame once, by time of commit: what was there when someone looked at the ends.

    Raises:
        DataError: A line is damaged.
    """
    logs = (records_until(log, end) for log, end in ends.items())
    merged = heapq.merge(*logs, key=lambda record: record.committed_unix_ns)
    return once((record.result.key, record) for record in merged)


def classes_of(out: Path) -> Classes:
    """Every bundle's classes, of all the gateways.

    Raises:
        DataError: A file of them is damaged.
    """
    return {bundle: names for log in logs_of(out) for bundle, names in read_classes(log).items()}


def follow(
    out: Path,
    ends: Ends,
    *,
    poll_s: float = 0.2,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[bytes | None]:
    """Lines as they come, each frame's first, and None whenever there is none; for ever.

    Args:
        out: The folder of results; gateways may be added to it.
        ends: Where to begin in the logs that are known; others are read from their first line.
        poll_s: How often to look.
        sleep: Waits that long.

    Raises:
        DataError: A line is damaged.
    """
    at, seen = dict(ends), KeyIndex()
    while True:
        for log in logs_of(out):
            for behind, line in read_on(log, at.get(log, START)):
                at[log] = behind
                yield from once([(_key(log, behind, line), line)], seen)
        yield None
        sleep(poll_s)


def _key(log: Path, behind: Position, line: bytes) -> FrameKey:
    try:
        return key_of_line(line)
    except DataError as error:
        where = f"{segment_path(log, behind.number)}: byte {behind.offset_bytes - len(line)}"
        raise DataError(f"{where}: {error}") from error


def once(items: Iterable[tuple[FrameKey, T]], seen: KeyIndex | None = None) -> Iterator[T]:
    """The first item of each key.

    Args:
        items: With their keys.
        seen: Keys that had their item before; added to.
    """
    seen = KeyIndex() if seen is None else seen
    for key, item in items:
        if key not in seen:
            seen.add(key, None)
            yield item
