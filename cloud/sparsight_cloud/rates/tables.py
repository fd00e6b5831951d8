"""A rate report as tables for a person, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

_TIMES = {
    "stem_ms": "stem",
    "seeker_ms": "seeker",
    "analysis_ms": "analysis",
    "slicer_ms": "slicer",
    "coding_ms": "coding, middle rate",
}


def rate_tables(report: dict[str, Any]) -> Iterator[Table]:
    """All tables of a report.

    Args:
        report: As from `run.compare`.
    """
    yield rows_table(report, "all")
    yield rivals_table(report, "all")
    if report["crowded"]["rows"]:
        yield rivals_table(report["crowded"], "the most crowded")
    yield device_table(report)
    if report["sequence"]:
        yield rows_table(report["sequence"], "a sequence's")
        yield rivals_table(report["sequence"], "a sequence's")


def rows_table(comparison: dict[str, Any], which: str) -> Table:
    """Bytes and accuracy of every row."""
    frames = f"{which} {comparison['frames']} frames, {comparison['boxes']} boxes"
    table = Table(title=f"{frames}; bytes on the wire", title_justify="left")
    table.add_column("row")
    for heading in ("kB a frame", "AP", "AP50", "device ms"):
        table.add_column(heading, justify="right")
    table.add_column("detector")
    for name, ap in comparison["reference"].items():
        table.add_row("no codec", "-", _percent(ap["ap"]), _percent(ap["ap50"]), "-", name)
    curve = None
    for row in comparison["rows"]:
        if row["curve"] != curve:
            table.add_section()
            curve = row["curve"]
        table.add_row(
            row["name"],
            f"{row['bytes_per_frame'] / 1e3:.1f}",
            _percent(row["ap"]),
            _percent(row["ap50"]),
            _number(row["encode_ms"], ".0f"),
            row["detector"],
        )
    return table


def rivals_table(comparison: dict[str, Any], which: str) -> Table:
    """Every kind of rival at equal accuracy."""
    target = _percent(comparison["target_ap"])
    title = f"{which} {comparison['frames']} frames, at AP {target} (0.5 below ours uncoded)"
    table = Table(title=title, title_justify="left")
    table.add_column("rival")
    for heading in ("kB a frame", "over ours", "BD-rate of ours"):
        table.add_column(heading, justify="right")
    table.add_column("its cheapest curve")
    ours = comparison["ours_bytes_at_target"]
    table.add_row("ours", _kilobytes(ours), _number(1.0 if ours else None, ".2f"), "", "ours")
    table.add_section()
    for name, rival in comparison["rivals"].items():
        at_most = "<= " if rival["at_most"] else ""
        over, rate = comparison["at_equal_ap"][name], comparison["bd_rate"][name]
        table.add_row(
            name,
            f"{at_most}{_kilobytes(rival['bytes_at_target'])}",
            "-" if over is None else f"{at_most}{over:.2f}x",
            "-" if rate is None else f"{100 * rate:+.0f} %",
            rival["curve"],
        )
    return table


def device_table(report: dict[str, Any]) -> Table:
    """What ours takes on a device, and what it sends where there is nothing to see."""
    table = Table(title="ours on a device, one thread", title_justify="left", show_header=False)
    table.add_column("part")
    table.add_column("value", justify="right")
    times = report["device_ms"]
    for key, label in _TIMES.items():
        table.add_row(f"{label}, ms", _number(times.get(key), ".1f"))
    table.add_row(
        "analysis and coding over stem", _number(times["analysis_and_coding_over_stem"], ".2f")
    )
    over = report["cloud_ms"].get("decode_and_synthesis_over_deep")
    table.add_row("cloud: decode and synthesis over the rest", _number(over, ".2f"))
    table.add_section()
    nothing, empty = report["no_patches"], report["empty"]
    table.add_row("frame without patches, payload bytes", str(nothing["payload_bytes"]))
    table.add_row("the same on the wire", str(nothing["wire_bytes"]))
    table.add_row("frames without boxes", str(empty["frames"]))
    for name, size in empty["bytes_per_frame"].items():
        table.add_row(f"  {name}, kB", _kilobytes(size))
    return table


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def _kilobytes(size: float | None) -> str:
    return "never" if size is None else f"{size / 1e3:.1f}"


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)
