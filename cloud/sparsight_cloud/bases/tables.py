"""The bases as a table of Markdown, for people and for docs/bases.md, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sparsight_cloud.bases.figures import OCCUPANCIES, Figures
from sparsight_cloud.bases.trial import Trial


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        figures: What was counted.
        trial: What became of its device half; None if that was not asked.
    """

    figures: Figures
    trial: Trial | None = None


def to_markdown(rows: Sequence[Row], size_wh: tuple[int, int]) -> str:
    """The table, and below it what was said where a trial failed.

    Args:
        rows: The bases.
        size_wh: Width and height of the frame, in pixels.
    """
    head = [
        "base",
        "deep part",
        "parameters, M",
        "on the device, M",
        "P3 channels",
        "stem, GFLOPs",
        "dense",
        *(f"split at {share:g}" for share in OCCUPANCIES),
        "ONNX",
        "device, CPU ms",
        "TensorRT",
    ]
    table = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    left = 2  # columns of words
    lines = [_line(cells, widths, left) for cells in table]
    rule = [("-" * w if i < left else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    lines.insert(1, _line(rule, widths, left))
    notes = [
        f"- {row.figures.backbone}, {what}: {tried.why}"
        for row in rows
        if row.trial is not None
        for what, tried in (("ONNX", row.trial.onnx), ("TensorRT", row.trial.tensorrt))
        if not tried.ok
    ]
    title = f"GFLOPs of a frame of {size_wh[0]}x{size_wh[1]} px, multiply-adds times two:"
    return "\n".join([title, "", *lines, *([""] if notes else []), *notes])


def to_json(rows: Sequence[Row], size_wh: tuple[int, int]) -> dict[str, Any]:
    """The same for machines."""
    return {
        "size_wh": list(size_wh),
        "occupancies": list(OCCUPANCIES),
        "bases": [
            {**asdict(row.figures), "trial": None if row.trial is None else asdict(row.trial)}
            for row in rows
        ],
    }


def _cells(row: Row) -> list[str]:
    f = row.figures
    return [
        f.backbone,
        "cells" if f.joined else "patches",
        f"{f.parameters / 1e6:.2f}",
        f"{f.device_parameters / 1e6:.2f}",
        str(f.p3_channels),
        *(f"{one:.1f}" for one in (f.device_gflops, f.dense_gflops, *f.split_gflops)),
        *_tried(row.trial),
    ]


def _tried(trial: Trial | None) -> tuple[str, str, str]:
    if trial is None:
        return "-", "-", "-"
    cpu = "-" if trial.cpu_ms is None else f"{trial.cpu_ms:.0f}"
    return trial.onnx.word, cpu, trial.tensorrt.word


def _line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = (
        cell.ljust(w) if i < left else cell.rjust(w)
        for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join(padded)} |"
