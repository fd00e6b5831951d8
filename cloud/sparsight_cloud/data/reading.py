"""What goes wrong while a data set is read: collected, so that a person sees all of it at once.

A reader is a function `(annotations, images, reading) -> Dataset`. What is wrong with one picture,
line or box goes to `reading.problem` and the reader goes on without it; what leaves nothing to go
on with (no such folder, no JSON) is a `DataError` at once. `reading.refuse` raises the collection.

Boxes that no picture can have (outside it, of no size) are `reading.bad_box`: some public sets
contain a few, so they may be left out on demand. Nothing else can be waved through.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from sparsight.errors import DataError
from sparsight_cloud.data.choices import Split
from sparsight_cloud.data.dataset import Dataset

SHOWN = 20
"""Problems that a message shows; of the others it says how many there are."""

_KEPT = 1000  # a wrong format makes a problem of every line: a bound for the memory

T = TypeVar("T")


@runtime_checkable
class Track(Protocol):
    """Shows how far a loop has come."""

    def __call__(self, items: Sequence[T], what: str, /) -> Iterable[T]:
        """Yields the items.

        Args:
            items: What the loop goes over.
            what: What is being done, for a person.
        """
        ...


def silent(items: Sequence[T], what: str, /) -> Iterable[T]:
    """The `Track` that shows nothing."""
    del what
    return items


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a data set.

    Attributes:
        where: The file, with the line if there is one.
        what: What was expected and what came.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class DatasetProblems(DataError):
    """A data set with problems; the message shows the first and counts them all.

    Attributes:
        problems: What was found, up to a thousand.
        count: How many there are.
    """

    def __init__(self, annotations: Path, problems: Sequence[Problem], count: int) -> None:
        self.problems = tuple(problems)
        self.count = count
        noun = "problem" if count == 1 else "problems"
        more = f", the first {SHOWN}" if count > SHOWN else ""
        lines = [f"{annotations}: {count} {noun}{more}:", *map(str, self.problems[:SHOWN])]
        super().__init__("\n  ".join(lines))


@dataclass(slots=True)
class Reading:
    """One data set being read: what is allowed, and what was found wrong.

    Attributes:
        allow_empty: Take pictures whose label file is missing or empty as pictures without objects.
        drop_bad_boxes: Leave boxes outside their picture or of no size out.
        check_pictures: Open each picture's header and hold it against the annotations, where they
            state its size.
        split: Part of the set to read, for formats that come in one piece (UAVDT).
        track: Shows progress.
        problems: The first thousand, in the order found.
        problem_count: How many there are.
        notes: What a person should know though it is no fault.
    """

    allow_empty: bool = False
    drop_bad_boxes: bool = False
    check_pictures: bool = False
    split: Split = Split.ALL
    track: Track = silent
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    notes: list[str] = field(default_factory=list)
    _dropped: list[Problem] = field(default_factory=list)
    _dropped_count: int = 0

    def problem(self, where: Path | str, what: str) -> None:
        """Records that something is wrong."""
        self.problem_count += 1
        if len(self.problems) < _KEPT:
            self.problems.append(Problem(str(where), what))

    def bad_box(self, where: Path | str, what: str) -> None:
        """Records a box that is left out, as a problem unless that was asked for."""
        if not self.drop_bad_boxes:
            self.problem(where, what)
            return
        self._dropped_count += 1
        if not self._dropped:
            self._dropped.append(Problem(str(where), what))

    def note(self, text: str) -> None:
        """Records what a person should know."""
        self.notes.append(text)

    def conclude(self, annotations: Path, dataset: Dataset) -> None:
        """Looks at the whole: no pictures or no boxes are a problem, boxes left out are noted."""
        if self._dropped_count:
            self.note(f"{self._dropped_count} bad boxes left out, the first: {self._dropped[0]}")
        if not dataset.images:
            self.problem(annotations, "expected pictures, found none")
        elif not dataset.boxes and not self.allow_empty:
            self.problem(
                annotations,
                f"expected boxes, found none in {len(dataset.images)} pictures; if the set is "
                "meant to be without objects, allow it (--allow-empty)",
            )

    def refuse(self, annotations: Path) -> None:
        """Refuses a data set with problems: never train a seeker on silence.

        Args:
            annotations: What was read, for the message.

        Raises:
            DatasetProblems: Something is wrong.
        """
        if self.problem_count:
            raise DatasetProblems(annotations, self.problems, self.problem_count)
