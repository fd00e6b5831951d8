"""`--tui`: how the agent stands, on one screen.

    camera, engine, link, spool with a bar, kbit/s as a line of strokes, and the log's last lines

While it is there the log goes into it: what was logged is printed when the screen is given back.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import TextIOBase

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sparsight_edge.progress import Progress
from sparsight_edge.summary import status_table

_SECONDS = 60
_STROKES = "▁▂▃▄▅▆▇█"
_LOG_LINES = 8
_KEPT_LINES = 1000
_BAR = 40


class Screen:
    """Remembers what one moment does not show: the rate of sending, and the last answer."""

    def __init__(self, spool_max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was seen yet.

        Args:
            spool_max_bytes: What the spool may hold.
            clock: Gives seconds.
        """
        self._spool_max_bytes = spool_max_bytes
        self._clock = clock
        self._kbps: deque[float] = deque(maxlen=_SECONDS)
        self._second_s = self._answer_s = clock()
        self._sent_bytes = self._answers = 0

    def draw(self, now: Progress, log: RenderableType) -> RenderableType:
        """All of it.

        Args:
            now: How the agent stands.
            log: The last lines of the log.
        """
        self._see(now)
        table = status_table(now)
        table.add_row("", _bar(now.spool.bytes, self._spool_max_bytes))
        now_kbps = f"{self._kbps[-1]:.0f}" if self._kbps else "-"
        table.add_row("kbit/s", f"{now_kbps} {strokes(self._kbps)}")
        silent_s = self._clock() - self._answer_s
        answer = f"{silent_s:.0f} s ago" if self._answers else "none yet"
        table.add_row("last answer", answer)
        return Group(Panel(table, title="sparsight edge run"), Panel(log, title="log"))

    def _see(self, now: Progress) -> None:
        now_s = self._clock()
        if now.uplink.acknowledged != self._answers:
            self._answers, self._answer_s = now.uplink.acknowledged, now_s
        if (passed_s := now_s - self._second_s) >= 1:
            bits = (now.uplink.sent_bytes - self._sent_bytes) * 8
            self._kbps.append(bits / 1e3 / passed_s)
            self._second_s, self._sent_bytes = now_s, now.uplink.sent_bytes


@contextmanager
def full_screen(console: Console, spool_max_bytes: int) -> Iterator[Callable[[Progress], None]]:
    """Take the whole terminal while the block runs.

    Args:
        console: A terminal, on stderr.
        spool_max_bytes: What the spool may hold.
    """
    screen, log = Screen(spool_max_bytes), _Tail()
    # The console itself writes to the terminal, whatever stderr is for all others.
    own = Console(file=sys.stderr)
    try:
        with (
            Live(console=own, screen=True, redirect_stderr=False, refresh_per_second=4) as live,
            redirect_stderr(log),
        ):
            yield lambda now: live.update(screen.draw(now, log.newest()))
    finally:
        console.file.write(log.text())


def strokes(values: deque[float]) -> str:
    """Values as a line of strokes, the greatest as high as can be."""
    most = max(values, default=0.0)
    if most <= 0:
        return _STROKES[0] * len(values)
    return "".join(_STROKES[round(value / most * (len(_STROKES) - 1))] for value in values)


def _bar(done: int, total: int) -> Table:
    row = Table.grid(padding=(0, 1))
    share = done / total
    colour = "red" if share > 0.9 else "yellow" if share > 0.5 else "green"
    bar = ProgressBar(total, min(done, total), _BAR, complete_style=colour)
    row.add_row(bar, f"{share:.0%} of {total / 1e6:.0f} MB")
    return row


class _Tail(TextIOBase):
    """A stream that keeps its last lines."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        self._lines.extend(lines)
        return len(text)

    def isatty(self) -> bool:
        return True

    def newest(self) -> Text:
        return Text.from_ansi("\n".join(list(self._lines)[-_LOG_LINES:]), no_wrap=True)

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)
