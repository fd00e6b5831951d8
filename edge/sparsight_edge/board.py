"""The status before a person's eyes: drawn anew on a terminal, else an event now and then.

Progress ─> see ─┬─ Lines    no terminal: an event in the log every few seconds
                 ├─ Table    a terminal: a few rows below the log
                 └─ Screen   --tui: the whole terminal (`tui.py`)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

import structlog
from rich.console import Console
from rich.live import Live

from sparsight_edge.progress import Progress
from sparsight_edge.summary import status_fields, status_table
from sparsight_edge.tui import full_screen

_LINE_S = 5.0

_log = structlog.get_logger(__name__)

Show: TypeAlias = Callable[[Progress], None]
"""Is told how the agent stands, several times a second."""


def open_board(
    console: Console, *, tui: bool, spool_max_bytes: int
) -> AbstractContextManager[Show]:
    """The board that suits the console.

    Args:
        console: For people; stderr.
        tui: Take the whole screen, if there is one.
        spool_max_bytes: What the spool may hold.
    """
    if not console.is_terminal:
        return _lines()
    return full_screen(console, spool_max_bytes) if tui else _table(console)


@contextmanager
def _lines() -> Iterator[Show]:
    said_s = time.monotonic()

    def show(now: Progress) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= _LINE_S:
            said_s = time.monotonic()
            _log.info("status", **status_fields(now))

    yield show


@contextmanager
def _table(console: Console) -> Iterator[Show]:
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda now: live.update(status_table(now))


class LinkHerald:
    """Says in the log when the link comes and goes, and what the cloud complains of."""

    def __init__(self) -> None:
        self._said = ("connecting", "")

    def see(self, now: Progress) -> None:
        """How it stands."""
        state, reason = now.uplink.state, now.uplink.reason
        # Between two streams it is connecting for a moment: that says nothing new.
        if state in ("connecting", "closed") or (state, reason) == self._said:
            return
        self._said = (state, reason)
        if state == "up" and not reason:
            _log.info("link up")
        else:
            _log.warning("link", state=state, reason=reason)
