"""The bar that people watch while something is counted: how many, how long, how much is left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def counting(console: Console, *, disable: bool = False, looks_back_s: float = 30.0) -> Progress:
    """A bar that goes away when its block ends.

    Args:
        console: Where to draw.
        disable: Draw nothing.
        looks_back_s: What the estimate of the time left is made from.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=disable,
        speed_estimate_period=looks_back_s,
    )
