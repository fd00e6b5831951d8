"""The metrics file of a run: one JSON object a line, each the means of some steps.

{"step": 40, "elapsed_s": 58.1, "loss_classes": 0.81, "loss_boxes": 0.39, ...}
"""

from __future__ import annotations

import json
from pathlib import Path

EVERY_STEPS = 20


class Means:
    """Means of named values since they were last taken."""

    def __init__(self, sums: dict[str, list[float]] | None = None) -> None:
        """Goes on with the sums of another."""
        self._sums = {name: list(pair) for name, pair in (sums or {}).items()}

    @property
    def sums(self) -> dict[str, list[float]]:
        """Sum and count of each value."""
        return {name: list(pair) for name, pair in self._sums.items()}

    def add(self, values: dict[str, float]) -> None:
        """One step's values; a step need not have all of them."""
        for name, value in values.items():
            pair = self._sums.setdefault(name, [0.0, 0.0])
            pair[0] += value
            pair[1] += 1

    def take(self) -> dict[str, float]:
        """The means, and begin again; nothing if no step was added."""
        out = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return out


def append_metrics(file: Path, step: int, elapsed_s: float, means: dict[str, float]) -> None:
    """Write one line.

    Args:
        file: The metrics file.
        step: Steps done.
        elapsed_s: Training time so far.
        means: Means over the last steps.
    """
    rounded = {name: round(value, 5) for name, value in means.items()}
    row = {"step": step, "elapsed_s": round(elapsed_s, 1), **rounded}
    with file.open("a", encoding="utf-8") as f:
        f.write(json.dumps(row) + "\n")


def read_metrics(file: Path) -> list[dict[str, float]]:
    """The lines of the metrics file; none where a run ended before its first."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def drop_metrics_after(file: Path, step: int) -> None:
    """Forget steps that a kill undid, which will be done again, and a line cut in the middle.

    Args:
        file: The metrics file; it need not exist.
        step: Steps that the checkpoint holds.
    """
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    partial = file.with_suffix(".partial")
    partial.write_text("".join(kept), encoding="utf-8")
    partial.replace(file)
