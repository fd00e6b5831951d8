"""A set of numbers that come nearly in order, in a few words of memory.

    {0, 1, 2, 3, 7, 8}  ==  starts [0, 7]  ends [4, 9]      (half-open)

A day of one device at 30 frames a second is 2.6 million numbers, and one interval.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Intervals:
    """A set of whole numbers from 0, kept as the gaps-free runs in it."""

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        """The numbers of some half-open runs, which may touch or overlap."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted(runs):
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            elif start < end:
                self._starts.append(start)
                self._ends.append(end)

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self._starts, number)
        return i > 0 and number < self._ends[i - 1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The runs, half-open, in order."""
        return zip(self._starts, self._ends, strict=True)

    @property
    def count(self) -> int:
        """How many numbers there are; may be more than `len` could say."""
        return sum(self._ends) - sum(self._starts)

    def add(self, number: int) -> None:
        """Put a number in; one that is there changes nothing."""
        i = bisect_right(self._starts, number)
        if i and number < self._ends[i - 1]:
            return
        joins_left = i > 0 and self._ends[i - 1] == number
        joins_right = i < len(self._starts) and self._starts[i] == number + 1
        if joins_left and joins_right:
            self._ends[i - 1] = self._ends[i]
            del self._starts[i], self._ends[i]
        elif joins_left:
            self._ends[i - 1] = number + 1
        elif joins_right:
            self._starts[i] = number
        else:
            self._starts.insert(i, number)
            self._ends.insert(i, number + 1)
