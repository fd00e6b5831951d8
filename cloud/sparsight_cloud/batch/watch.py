"""Progress: a bar in a terminal, a line now and then elsewhere; how fast, and how much is left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console

from sparsight_cloud.batch.rows import Made
from sparsight_cloud.progress import counting


class Watch:
    """Owns what people see while a run computes."""

    def __init__(self, people: Console, total: int, done: int, every_s: float = 10.0) -> None:
        """Nothing is shown before it is entered.

        Args:
            people: Where.
            total: Items of the run.
            done: Those done earlier.
            every_s: How often there is a line where there is no terminal.
        """
        self._people, self._total, self._done = people, total, done
        self._bar = counting(people, disable=not people.is_terminal)
        self._task = self._bar.add_task("starting Ray", total=total, completed=done)
        self._first: tuple[float, int] | None = None
        self._every_s = every_s
        self._said_s = time.monotonic()

    def __enter__(self) -> Watch:
        self._bar.start()
        if not self._people.is_terminal:
            self._say(f"{self._total - self._done} pictures to do; starting Ray")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def saw(self, made: Made, failed: int) -> None:
        """A shard was written.

        Args:
            made: What it took.
            failed: Items with an error until now, in all.
        """
        self._done += made.pictures
        now_s = time.monotonic()
        if self._first is None:
            self._first = (now_s - (time.time() - made.began_unix_s), self._done - made.pictures)
        since_s, at = self._first
        per_s = (self._done - at) / max(now_s - since_s, 1e-9)
        bad = f", {failed} failed" if failed else ""
        self._bar.update(
            self._task, completed=self._done, description=f"{per_s:.1f} pictures/s{bad}"
        )
        if not self._people.is_terminal and now_s - self._said_s >= self._every_s:
            self._said_s = now_s
            left_s = (self._total - self._done) / per_s
            self._say(
                f"{self._done} of {self._total} pictures, {per_s:.1f}/s, {_time(left_s)} left{bad}"
            )

    def _say(self, line: str) -> None:
        self._people.print(line, markup=False, highlight=False, soft_wrap=True)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
