"""The folder of results, as its readers see it.

OUT/results/000001.jsonl ...   a line a frame (`serving.records`)
OUT/bundles.json               {"a73a...": ["pedestrian", "people", ...]}: what labels mean
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from sparsight.errors import DataError, UsageError
from sparsight_cloud.serving.records import Record, from_line
from sparsight_cloud.serving.segments import (
    RESULTS,
    read_lines,
    segment_numbers,
    segment_path,
)

BUNDLES = "bundles.json"

Classes = Mapping[str, tuple[str, ...]]
"""Names of the classes, in the order of labels, of each bundle by its id."""


def require_results(out: Path) -> None:
    """Check that a folder is one of results.

    Raises:
        UsageError: It is none.
    """
    if not (out / RESULTS).is_dir():
        raise UsageError(
            f"{out}: no results here; expected the --out folder of `sparsight cloud up`"
        )


def records_of(out: Path, number: int) -> Iterator[Record]:
    """The records of one file.

    Raises:
        DataError: A line is damaged.
    """
    for place, line in read_lines(out, number):
        try:
            yield from_line(line)
        except DataError as error:
            path = segment_path(out, number)
            raise DataError(f"{path}: byte {place.offset_bytes}: {error}") from error


def all_records(out: Path) -> Iterator[Record]:
    """The records of all files, in the order of writing.

    Raises:
        DataError: A line is damaged.
    """
    for number in segment_numbers(out):
        yield from records_of(out, number)


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
