"""The bench's report as tables for a person."""

from __future__ import annotations

from typing import Any

from bench.variants import TITLES
from rich import box
from rich.console import Console
from rich.table import Table

MB = 1e6

FIGURES = (
    ("GFLOPs", "gflops", 1.0, 1),
    ("ms, median", "ms_median", 1.0, 0),
    ("ms, mean", "ms_mean", 1.0, 0),
    ("peak MB", "peak_bytes", MB, 0),
    ("peak MB, deep", "peak_deep_bytes", MB, 0),
)
"""Label, name in a row, divisor and digits of the figures that have a ratio to dense."""

STAGES = {
    "stem, seeker": ("device",),
    "slicer": ("slicer",),
    "trunk to head": ("trunk", "head"),  # dense mode has one time for them
    "merge": ("merge",),
}
"""Stages that are shown together, by label."""


def show(report: dict[str, Any], console: Console) -> None:
    """Print what a report holds."""
    part = report.get("labelled")
    if part:
        for subset in part["subsets"].values():
            console.print(_ways(f"{part['annotations']}, {subset['title']}", subset["ways"]))
            console.print(*_verdicts(subset["ways"]), sep="\n")
        console.print(
            "peak memory: growth of a process over its loaded state, mean of "
            f"{part['memory_frames']} frames a line; deep: behind the seeker; "
            f"ms outside: SAHI itself, which merges by {part['sahi_merging']}",
            style="dim",
        )
    part = report.get("native")
    if part:
        console.print(_pictures(part))
        console.print(_ways("all of them", part["ways"]))
    part = report.get("transformer")
    if part:
        console.print(
            _ways(
                f"{part['backbone']}, {part['side_px']}x{part['side_px']} px, {part['weights']}",
                part["ways"],
            )
        )
        console.print(part["note"], style="dim")


def _ways(title: str, ways: dict[str, dict[str, Any]]) -> Table:
    """Ways side by side; beside a figure stands how many times dense's it is."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for key, row in ways.items():
        table.add_column(row.get("title", TITLES.get(key, key)), justify="right")
    several = [row["runs"] > 1 for row in ways.values()]
    if any("ap" in row for row in ways.values()):
        table.add_row("AP", *(_percent(row["ap"]) for row in ways.values()))
        table.add_row("AP50", *(_percent(row["ap50"]) for row in ways.values()))
    table.add_row("frame kept", *(_percent(row["kept_area"]) for row in ways.values()))
    for label, name, scale, digits in FIGURES:
        cells = [_figure(row, name, scale, digits) for row in ways.values()]
        if name == "peak_deep_bytes":  # of several runs only the last is behind the last seeker
            cells = ["-" if many else cell for many, cell in zip(several, cells, strict=True)]
        table.add_row(label, *cells)
    table.add_section()
    for label, stages in STAGES.items():
        sums = [sum(row["stages_ms"].get(s, 0.0) for s in stages) for row in ways.values()]
        table.add_row(f"ms {label}", *(f"{ms:.0f}" for ms in sums))
    outside = (f"{row['ms_mean'] - row['model_ms']:.0f}" for row in ways.values())
    table.add_row("ms outside", *outside)
    return table


def _figure(row: dict[str, Any], name: str, scale: float, digits: int) -> str:
    if row[name] is None:
        return "-"
    return f"{row[name] / scale:.{digits}f} {_times(row[f'{name}_ratio']):>5}x"


def _verdicts(ways: dict[str, dict[str, Any]]) -> list[str]:
    own = ways["sparse"]
    lines = [f"split against dense: AP {_points(own['ap'], ways['dense']['ap'])}"]
    for key in ("sahi", "sahi_native"):
        if key in ways:
            times = _times(own["ms_mean"] / ways[key]["ms_mean"])
            gain = _points(own["ap"], ways[key]["ap"])
            lines.append(f"split against {TITLES[key]}: {times} of its time, AP {gain}")
    return lines


def _points(own: float | None, other: float | None) -> str:
    return "-" if own is None or other is None else f"{100 * (own - other):+.2f}"


def _pictures(part: dict[str, Any]) -> Table:
    table = Table(
        title=f"long side {part['long_side_px']} px, no AP; patches beside dense",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("picture", overflow="fold", min_width=12)
    for heading in ("found", "occup.", "GFLOPs", "dense ms", "ms", "dense MB", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in part["pictures"]:
        table.add_row(
            one["picture"],
            str(one["objects"]),
            _percent(one["occupancy"]),
            f"{_times(one['gflops_ratio'])}x",
            f"{one['dense_ms']:.0f}",
            f"{one['ms']:.0f} {_times(one['ms_ratio'])}x",
            _mega(one["dense_peak_bytes"]),
            f"{_mega(one['peak_bytes'])} {_times(one['peak_ratio'])}x",
        )
    return table


def _mega(size_bytes: float | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / MB:.0f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f} %"
