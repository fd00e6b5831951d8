"""The picture of a rate report: bytes a frame, on a logarithmic axis, against AP. Plain SVG.

    report ─ curves ─ places on the paper ─> lines, dots, a label at the end of each line

Labels are pushed apart where lines end close together. Nothing is drawn of curves without AP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

WIDTH_PX, HEIGHT_PX = 900, 560
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 62, 190, 46, 56
LABEL_PX = 15
"""Least distance between two labels."""

TARGET = "0.5 below"
RED = "#c1121f"

AP_TICKS = 14
"""Most numbers on the axis of AP."""

_COLOURS = {
    "ours": RED,
    "ours_whole": "#f4a261",
    "jpeg": "#1d3557",
    "webp": "#457b9d",
    "avif": "#2a9d8f",
    "h265": "#6a4c93",
    "crops": "#8d6e63",
    "roi": "#588157",
    "raw": "#777777",
    "h264_video": "#457b9d",
    "h265_video": "#6a4c93",
}
_OTHER = "#444444"


@dataclass(frozen=True, slots=True)
class Line:
    """One curve.

    Attributes:
        label: For people.
        kind: What it is a variant of; gives the colour.
        points: Bytes a frame and AP, fewest bytes first.
    """

    label: str
    kind: str
    points: tuple[tuple[float, float], ...]

    @property
    def style(self) -> str:
        """How it is drawn: ours thick, detectors that learned from coded pictures dashed."""
        colour = _COLOURS.get(self.kind.removesuffix("_tuned"), _OTHER)
        width = 3.5 if self.kind == "ours" else 1.8
        dashes = ' stroke-dasharray="6 4"' if self.kind.endswith("_tuned") else ""
        return f'stroke="{colour}" stroke-width="{width}"{dashes}'


@dataclass(frozen=True, slots=True)
class Paper:
    """Where values lie on the picture.

    Attributes:
        low_bytes: At the left edge.
        high_bytes: At the right edge.
        low_ap: At the bottom.
        high_ap: At the top.
    """

    low_bytes: float
    high_bytes: float
    low_ap: float
    high_ap: float

    @classmethod
    def around(cls, points: Sequence[tuple[float, float]], aps: Sequence[float]) -> Paper:
        """One that has room for some points and some more APs."""
        sizes, all_aps = [size for size, _ in points], [*(ap for _, ap in points), *aps]
        low, high = math.floor(min(all_aps) * 50) / 50, math.ceil(max(all_aps) * 50) / 50
        return cls(min(sizes) / 1.15, max(sizes) * 1.15, low, max(high, low + 0.02))

    def x(self, size: float) -> float:
        """Place of a size."""
        share = math.log(size / self.low_bytes) / math.log(self.high_bytes / self.low_bytes)
        return LEFT_PX + share * (WIDTH_PX - LEFT_PX - RIGHT_PX)

    def y(self, ap: float) -> float:
        """Place of an AP."""
        share = (ap - self.low_ap) / (self.high_ap - self.low_ap)
        return HEIGHT_PX - BOTTOM_PX - share * (HEIGHT_PX - TOP_PX - BOTTOM_PX)


def lines_of(comparison: dict[str, Any]) -> list[Line]:
    """What is drawn of a comparison: ours, and of every kind of rival its cheapest curve."""
    kinds = {"ours": "ours"} | {
        rival["curve"]: kind for kind, rival in comparison["rivals"].items()
    }
    points: dict[str, list[tuple[float, float]]] = {}
    for row in comparison["rows"]:
        if row["ap"] is not None and row["curve"] in kinds:
            points.setdefault(row["curve"], []).append((row["bytes_per_frame"], row["ap"]))
    return [Line(name, kinds[name], tuple(sorted(some))) for name, some in points.items()]


def chart(comparison: dict[str, Any], title: str) -> str | None:
    """Draw a comparison.

    Args:
        comparison: As in a report, from `report.comparison_json`.
        title: For people.

    Returns:
        An SVG document; None if there is nothing to draw.
    """
    lines = lines_of(comparison)
    if not lines:
        return None
    uncoded = comparison["reference"].get("split", {}).get("ap")
    marked = {
        "ours, no codec": uncoded,
        TARGET: comparison["target_ap"],
    }
    levels = {label: ap for label, ap in marked.items() if ap is not None}
    paper = Paper.around([p for line in lines for p in line.points], [*levels.values()])
    parts = [*_frame(paper, title), *_levels(paper, levels)]
    for line in lines:
        parts += _drawn(paper, line)
    parts += _labels(paper, lines)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{HEIGHT_PX}" '
        f'viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" font-family="sans-serif" font-size="13">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _frame(paper: Paper, title: str) -> list[str]:
    bottom, right = HEIGHT_PX - BOTTOM_PX, WIDTH_PX - RIGHT_PX
    parts = [_text(LEFT_PX, 26, title, size=16)]
    for size in _ticks(paper.low_bytes, paper.high_bytes):
        x = paper.x(size)
        parts.append(_rule(x, TOP_PX, x, bottom))
        parts.append(_text(x, bottom + 18, f"{size / 1e3:g}", anchor="middle"))
    low, high = round(paper.low_ap * 100), round(paper.high_ap * 100)
    step = next(step for step in (1, 2, 5, 10) if (high - low) / step <= AP_TICKS)
    for percent in range(-(-low // step) * step, high + 1, step):
        y = paper.y(percent / 100)
        parts.append(_rule(LEFT_PX, y, right, y))
        parts.append(_text(LEFT_PX - 8, y + 4, str(percent), anchor="end"))
    middle = (LEFT_PX + right) / 2
    parts.append(_text(middle, HEIGHT_PX - 14, "kB a frame on the wire (log)", anchor="middle"))
    parts.append(_text(18, TOP_PX - 8, "AP, %"))
    return parts


def _levels(paper: Paper, levels: dict[str, float]) -> list[str]:
    parts = []
    for label, ap in levels.items():
        y = paper.y(ap)
        parts.append(
            f'<line x1="{LEFT_PX}" y1="{y:.1f}" x2="{WIDTH_PX - RIGHT_PX}" y2="{y:.1f}" '
            f'stroke="{RED}" stroke-width="1" stroke-dasharray="2 4"/>'
        )
        below = label == TARGET  # the two are close together
        parts.append(_text(LEFT_PX + 6, y + (12 if below else -4), label, colour=RED, size=11))
    return parts


def _drawn(paper: Paper, line: Line) -> list[str]:
    places = [(paper.x(size), paper.y(ap)) for size, ap in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    colour = _COLOURS.get(line.kind.removesuffix("_tuned"), _OTHER)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return [f'<polyline points="{path}" fill="none" {line.style}/>', *dots]


def _labels(paper: Paper, lines: Sequence[Line]) -> list[str]:
    """A label for each line, in the order of their ends, beside the paper."""
    ends = sorted(lines, key=lambda line: paper.y(line.points[-1][1]))
    parts, last = [], TOP_PX - LABEL_PX + 4.0
    room = HEIGHT_PX - BOTTOM_PX
    for left, line in zip(range(len(ends) - 1, -1, -1), ends, strict=True):
        x_end, y_end = paper.x(line.points[-1][0]), paper.y(line.points[-1][1])
        last = min(max(last + LABEL_PX, y_end), room - left * LABEL_PX)
        x = WIDTH_PX - RIGHT_PX + 14
        colour = _COLOURS.get(line.kind.removesuffix("_tuned"), _OTHER)
        parts.append(
            f'<line x1="{x_end:.1f}" y1="{y_end:.1f}" x2="{x - 3}" y2="{last:.1f}" '
            f'stroke="{colour}" stroke-width="0.6" opacity="0.5"/>'
        )
        parts.append(_text(x, last + 4, line.label, colour=colour))
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]


def _rule(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="#e3e3e3"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#222222", size: int = 13
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-size="{size}">{escape(text)}</text>'
    )
