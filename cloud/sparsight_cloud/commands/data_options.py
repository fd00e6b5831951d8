"""What the commands of `sparsight data` share: options, what is told, and how they end."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sparsight.errors import DataError
from sparsight_cloud.data.choices import Split

if TYPE_CHECKING:
    from sparsight_cloud.data.reading import Reading

T = TypeVar("T")

_WORTH_A_BAR = 200  # items; fewer are read before a person has seen the bar

Annotations = Annotated[
    Path,
    typer.Argument(
        metavar="ANN",
        help="The annotations, a JSON file unless --from says more.",
        show_default=False,
    ),
]
Images = Annotated[
    Path, typer.Option("--images", help="Folder of the pictures.", show_default=False)
]
AllowEmpty = Annotated[
    bool,
    typer.Option(
        "--allow-empty",
        help="Take pictures whose labels are missing or empty as pictures without objects.",
    ),
]
DropBadBoxes = Annotated[
    bool,
    typer.Option(
        "--drop-bad-boxes",
        help="Leave boxes out that lie outside their picture or have no size (VisDrone has one).",
    ),
]
SplitOption = Annotated[
    Split, typer.Option("--split", help="For uavdt: the benchmark's part to read.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def reading_of(allow_empty: bool, drop_bad_boxes: bool, split: Split, quiet: bool) -> "Reading":
    """A reading that opens every picture's header, with a bar for people."""
    from sparsight_cloud.data.reading import Reading, silent

    return Reading(
        allow_empty=allow_empty,
        drop_bad_boxes=drop_bad_boxes,
        check_pictures=True,
        split=split,
        track=silent if quiet else _bar,
    )


def _bar(items: Sequence[T], what: str, /) -> Iterable[T]:
    if len(items) < _WORTH_A_BAR:
        return items
    console = Console(stderr=True)
    return track(items, f"reading {what}", console=console, transient=True)


def end_with_problems(annotations: Path, reading: "Reading", as_json: bool) -> None:
    """Tell what is wrong and end.

    Raises:
        typer.Exit: Always.
    """
    from sparsight_cloud.data.reading import DatasetProblems

    if as_json:
        problems = [asdict(problem) for problem in reading.problems]
        print_json({"problem_count": reading.problem_count, "problems": problems})
    else:
        error = DatasetProblems(annotations, reading.problems, reading.problem_count)
        # No wrapping and no markup: these lines are for searching and for editors to jump from.
        typer.echo(str(error), err=True)
    raise typer.Exit(DataError.exit_code)


def print_notes(reading: "Reading") -> None:
    """Notes go to stderr."""
    for note in reading.notes:
        typer.echo(f"note: {note}", err=True)


def print_json(value: object) -> None:
    """One JSON object."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def counts(first: str, *others: str) -> Table:
    """A table of a name and numbers."""
    table = Table(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
