"""One gateway's results as they are committed, read beside the process that writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparsight_cloud.serving.segments import read_lines, segment_numbers, segment_path


@dataclass(frozen=True, slots=True)
class Position:
    """How far someone has read.

    Attributes:
        number: The file.
        offset_bytes: Where its next line begins.
    """

    number: int
    offset_bytes: int


START = Position(1, 0)
"""Before the first line."""


def end_of(out: Path) -> Position:
    """Behind the last whole line there is."""
    numbers = segment_numbers(out)
    if not numbers:
        return START
    at = Position(numbers[-1], 0)
    for place, line in read_lines(out, at.number):
        at = Position(at.number, place.offset_bytes + len(line))
    return at


def read_on(out: Path, at: Position) -> Iterator[tuple[Position, bytes]]:
    """The lines behind a position that are there by now, each with the position behind it."""
    while True:
        # Looked at before reading: a file that has a follower by then will not grow any more.
        later = [number for number in segment_numbers(out) if number > at.number]
        if segment_path(out, at.number).exists():
            for place, line in read_lines(out, at.number, at.offset_bytes):
                at = Position(at.number, place.offset_bytes + len(line))
                yield at, line
        if not later:
            return
        at = Position(later[0], 0)
