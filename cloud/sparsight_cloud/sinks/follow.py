"""Results as they are committed, read from the files beside the process that writes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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


def end_of(out: Path) -> Position:
    """Behind the last whole line there is."""
    numbers = segment_numbers(out)
    if not numbers:
        return Position(1, 0)
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


def follow(
    out: Path,
    at: Position,
    *,
    poll_s: float = 0.2,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[bytes | None]:
    """Lines as they come, and None whenever there is none just now; for ever.

    Args:
        out: The folder of results.
        at: Where to begin.
        poll_s: How often to look.
        sleep: Waits that long.
    """
    while True:
        for behind, line in read_on(out, at):
            at = behind
            yield line
        yield None
        sleep(poll_s)
