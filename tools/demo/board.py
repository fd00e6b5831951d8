"""How far the demo is: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

_LINE_S = 3.0


class Board:
    """Shows steps that begin and end, several at a time."""

    def __init__(self, console: Console) -> None:
        """Nothing is shown yet.

        Args:
            console: For people; stderr.
        """
        self._console = console
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}
        self._said_s = 0.0

    def __enter__(self) -> Board:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, step: str, total: int = 1) -> None:
        """A step begins.

        Args:
            step: What is done, as a sentence without its end.
            total: How many things it does.
        """
        self._tasks[step] = self._bars.add_task(escape(step), total=total)
        self._totals[step] = total
        self._said_s = time.monotonic()
        if self._bars.disable:
            self._say(f"{step} ...")

    @contextmanager
    def step(self, step: str) -> Iterator[None]:
        """A step that takes as long as the block."""
        self.begin(step)
        yield
        self._bars.update(self._tasks[step], completed=1)

    def at(self, counts: Mapping[str, int]) -> None:
        """How far some steps are."""
        for step, count in counts.items():
            self._bars.update(self._tasks[step], completed=count)
        if self._bars.disable and time.monotonic() - self._said_s >= _LINE_S:
            self._said_s = time.monotonic()
            said = (f"{step}: {n} of {self._totals[step]}" for step, n in counts.items())
            self._say(", ".join(said))

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
