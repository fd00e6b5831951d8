"""One gateway's folder of results, as its readers see it.

OUT/results/000001.jsonl ...   a line a frame (`serving.records`)
OUT/bundles.json               {"a73a...": ["pedestrian", "people", ...]}: what labels mean
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from sparsight.errors import DataError
from sparsight_cloud.serving.records import Record, from_line
from sparsight_cloud.serving.segments import read_lines, segment_numbers, segment_path
from sparsight_cloud.sinks.follow import Position

BUNDLES = "bundles.json"

Classes = Mapping[str, tuple[str, ...]]
"""Names of the classes, in the order of labels, of each bundle by its id."""


def records_of(out: Path, number: int, end_bytes: int | None = None) -> Iterator[Record]:
    """The records of one file.

    Args:
        out: The folder of results.
        number: Of the file.
        end_bytes: Where to stop; None reads all that is there.

    Raises:
        DataError: A line is damaged.
    """
    for place, line in read_lines(out, number):
        if place.offset_bytes == end_bytes:
            return
        try:
            yield from_line(line)
        except DataError as error:
            path = segment_path(out, number)
            raise DataError(f"{path}: byte {place.offset_bytes}: {error}") from error


def records_until(out: Path, end: Position) -> Iterator[Record]:
    """The records of all files up to a position, in the order of writing.

    Raises:
        DataError: A line is damaged.
    """
    for number in segment_numbers(out):
        if number <= end.number:
            yield from records_of(out, number, end.offset_bytes if number == end.number else None)


def write_classes(out: Path, classes: Classes) -> None:
    """Add some bundles' classes to those that are known."""
    known = {**read_classes(out), **classes}
    part = out / f".{BUNDLES}.part"
    part.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    part.replace(out / BUNDLES)


def read_classes(out: Path) -> dict[str, tuple[str, ...]]:
    """Every bundle's classes; none if there is no such file.

    Raises:
        DataError: The file is damaged.
    """
    file = out / BUNDLES
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        return {str(bundle): tuple(map(str, names)) for bundle, names in raw.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{file}: expected the classes of each bundle ({error})") from error


def class_name(classes: Classes, bundle_id: str, label: int) -> str:
    """A label's name; its number if nobody knows it."""
    names = classes.get(bundle_id, ())
    return names[label] if label < len(names) else str(label)
