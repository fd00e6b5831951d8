"""The bench's report as tables for a person."""

from __future__ import annotations

from typing import Any

from bench.variants import TITLES
from rich.console import Console
from rich.table import Table

MB = 1e6


def show(report: dict[str, Any], console: Console) -> None:
    """Print what a report holds."""
    part = report.get("labelled")
    if part:
        for subset in part["subsets"].values():
            console.print(_ways(f"{part['annotations']}, {subset['title']}", subset["ways"]))
        console.print(
            _stages("mean time of each stage, all frames", part["subsets"]["all"]["ways"])
        )
        console.print(
            "peak memory: growth of a process over its loaded state, mean of "
            f"{part['memory_frames']} frames a line; deep: behind the seeker; "
            f"SAHI merges by {part['sahi_merging']}",
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
    table = Table(title=title, title_justify="left")
    table.add_column("")
    judged = any("ap" in row for row in ways.values())
    deep = any(row["peak_deep_bytes"] is not None for row in ways.values())
    headings = ["AP", "AP50"] * judged + ["kept", "GFLOPs", "x"]
    headings += ["ms median", "x", "ms mean", "x", "model ms", "peak MB", "x"]
    for heading in headings + ["deep MB", "x"] * deep:
        table.add_column(heading, justify="right")
    for key, row in ways.items():
        cells = [_percent(row["ap"]), _percent(row["ap50"])] if judged else []
        cells.append(_percent(row["kept_area"]))
        for name, digits in (("gflops", 1), ("ms_median", 0), ("ms_mean", 0)):
            cells += [f"{row[name]:.{digits}f}", _times(row[f"{name}_ratio"])]
        cells.append(f"{row['model_ms']:.0f}")
        cells += _megabytes(row, "peak_bytes")
        table.add_row(row.get("title", TITLES.get(key, key)), *cells, *(_deep(row) if deep else []))
    return table


def _deep(row: dict[str, Any]) -> list[str]:
    # Of ways that run the detector often, only the last run would be behind the last seeker.
    return _megabytes(row, "peak_deep_bytes") if row["runs"] == 1 else ["-", "-"]


def _stages(title: str, ways: dict[str, dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("ms")
    for key in ways:
        table.add_column(TITLES.get(key, key), justify="right")
    for stage in dict.fromkeys(stage for row in ways.values() for stage in row["stages_ms"]):
        table.add_row(stage, *(f"{row['stages_ms'].get(stage, 0):.0f}" for row in ways.values()))
    outside = (f"{row['ms_mean'] - row['model_ms']:.0f}" for row in ways.values())
    table.add_row("outside the model", *outside)
    return table


def _pictures(part: dict[str, Any]) -> Table:
    table = Table(
        title=f"native size, long side {part['long_side_px']} px, no AP", title_justify="left"
    )
    table.add_column("picture")
    for heading in ("objects", "occupancy", "kept", "GFLOPs x", "dense ms", "patches ms", "x"):
        table.add_column(heading, justify="right")
    for heading in ("dense MB", "patches MB", "x"):
        table.add_column(heading, justify="right")
    for one in part["pictures"]:
        table.add_row(
            one["picture"],
            str(one["objects"]),
            _percent(one["occupancy"]),
            _percent(one["kept_area"]),
            _times(one["gflops_ratio"]),
            f"{one['dense_ms']:.0f}",
            f"{one['ms']:.0f}",
            _times(one["ms_ratio"]),
            _mega(one["dense_peak_bytes"]),
            _mega(one["peak_bytes"]),
            _times(one["peak_ratio"]),
        )
    return table


def _megabytes(row: dict[str, Any], name: str) -> list[str]:
    return [_mega(row[name]), _times(row[f"{name}_ratio"])]


def _mega(size_bytes: float | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / MB:.0f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f} %"
