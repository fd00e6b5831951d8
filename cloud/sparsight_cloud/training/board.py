"""What a person sees of a run: a bar with the time left, the losses and the learning rate.

Where the output is no terminal, a line now and then says the same.
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from sparsight_cloud.training.loop import Moment

LINE_EVERY_S = 60.0

_SHOWN = {
    "loss_classes": "classes",
    "loss_boxes": "boxes",
    "loss_seeker": "seeker",
    "loss_distance": "distance",
    "bits_per_cell": "bits/cell",
}


class Board:
    """A `Watcher` that draws on a console; a context manager."""

    def __init__(self, console: Console, lr: float) -> None:
        """A board.

        Args:
            console: Where to draw.
            lr: Learning rate before the schedule.
        """
        self._console, self._lr = console, lr
        self._begun = Moment(0, 0.0, 0.0, {})
        self._line_at = time.monotonic()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = TaskID(0)

    def __enter__(self) -> Board:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, moment: Moment) -> None:
        """Say where the run stands and draw the bar; once more if the run began again."""
        self._begun = moment
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        if moment.share >= 1:
            self._console.print(f"already at its end: {moment.step} steps")
        elif moment.step:
            self._console.print(
                f"going on from step {moment.step}, after {duration(moment.elapsed_s)}"
            )
        self._task = self._bar.add_task("", total=1.0, told="")
        self._bar.update(self._task, completed=moment.share)

    def step(self, moment: Moment) -> None:
        """Draw a step."""
        told = self._told(moment)
        self._bar.update(self._task, completed=moment.share, told=told)
        if self._bar.disable and time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at = time.monotonic()
            self._console.print(f"{moment.share:.0%}  {told}", highlight=False, soft_wrap=True)

    def _told(self, moment: Moment) -> str:
        parts = [f"step {moment.step}", f"{duration(self._left_s(moment))} left"]
        if moment.means:
            m = moment.means
            parts.append(" ".join(f"{_SHOWN[k]} {v:.3f}" for k, v in m.items() if k in _SHOWN))
            parts.append(f"lr {self._lr * m['lr_factor']:.1e}")
        return "  ".join(parts)

    def _left_s(self, moment: Moment) -> float:
        # By the pace since this start: another machine may have done the steps before it.
        done = moment.share - self._begun.share
        spent_s = moment.elapsed_s - self._begun.elapsed_s
        return spent_s / done * (1 - moment.share) if done > 0 else 0.0


def duration(seconds: float) -> str:
    """Seconds for a person: 1:23:45, or 3:45 below an hour."""
    minutes, s = divmod(round(seconds), 60)
    h, m = divmod(minutes, 60)
    return f"{h}:{m:02}:{s:02}" if h else f"{m}:{s:02}"
