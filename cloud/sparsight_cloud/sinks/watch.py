"""What comes in, as a table that changes: a row a stream of a device."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from rich.table import Table

from sparsight.wire import FrameStatus
from sparsight_cloud.serving.records import Record
from sparsight_cloud.sinks.results import Classes, class_name

PACE_S = 10.0
"""Frames a second are counted over so long."""

CLASSES_SHOWN = 3


@dataclass(slots=True)
class _Row:
    frames: int = 0
    refused: int = 0
    objects: int = 0
    last: Record | None = None
    classes: Counter[str] = field(default_factory=Counter)
    recent_unix_s: deque[float] = field(default_factory=lambda: deque(maxlen=4096))


class Watch:
    """Owns the counts of what was seen.

    Attributes:
        classes: What labels of the frames to come mean.
    """

    def __init__(self, classes: Classes) -> None:
        """An empty table.

        Args:
            classes: What labels mean.
        """
        self.classes = classes
        self._rows: dict[tuple[str, str], _Row] = {}

    def saw(self, record: Record) -> None:
        """A frame was committed."""
        row = self._rows.setdefault((record.result.key.device, record.stream), _Row())
        row.frames += 1
        row.refused += record.result.status is not FrameStatus.OK
        row.objects += len(record.result.detections)
        row.last = record
        row.recent_unix_s.append(record.committed_unix_ns / 1e9)
        row.classes = Counter(
            class_name(self.classes, record.bundle_id, label)
            for label in record.result.detections.labels.tolist()
        )

    def table(self, now_unix_s: float | None = None) -> Table:
        """The table as things are.

        Behind is from the last frame's capture to its commit, if the device's clock and ours agree.

        Args:
            now_unix_s: The time, in seconds since 1970; None is now.
        """
        now_unix_s = time.time() if now_unix_s is None else now_unix_s
        table = Table()
        table.add_column("stream", no_wrap=True)
        for name in ("frames", "refused", "objects", "per s", "behind"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("last frame")
        for (device, stream), row in sorted(self._rows.items()):
            assert row.last is not None
            recent = sum(at > now_unix_s - PACE_S for at in row.recent_unix_s)
            behind_s = (row.last.committed_unix_ns - row.last.captured_unix_ns) / 1e9
            table.add_row(
                f"{device}/{stream}",
                str(row.frames),
                str(row.refused),
                str(row.objects),
                f"{recent / PACE_S:.1f}",
                f"{behind_s:.2f} s",
                _summary(row),
            )
        return table


def _summary(row: _Row) -> str:
    """The last frame's objects, the most common first."""
    if row.last is not None and row.last.result.status is not FrameStatus.OK:
        return row.last.result.status.name.lower()
    common = row.classes.most_common()
    shown = ", ".join(f"{n} {name}" for name, n in common[:CLASSES_SHOWN])
    rest = sum(n for _, n in common[CLASSES_SHOWN:])
    return (f"{shown} and {rest} more" if rest else shown) or "nothing"
