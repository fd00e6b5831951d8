"""Small charts as inline SVG: lines over two axes, and nothing that a browser has to fetch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH_PX, HEIGHT_PX = 440, 270
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 48, 12, 12, 40
COLOURS = ("#2563eb", "#c1121f", "#2a9d8f", "#e09f3e", "#6a4c93", "#588157", "#8d6e63", "#444444")
TICKS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One curve.

    Attributes:
        name: For people.
        points: x and y, in the order in which they are joined.
        dots: Whether points are marked.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        label: For people, unit included.
        low: Where it begins.
        high: Where it ends.
    """

    label: str
    low: float
    high: float

    @staticmethod
    def over(label: str, values: Sequence[float], *, low: float | None = None) -> Axis:
        """The axis that holds some values, and begins at `low` if that is given."""
        least, most = min(values, default=0.0), max(values, default=1.0)
        start = least if low is None else low
        return Axis(label, start, most if most > start else start + 1.0)

    def place(self, value: float) -> float:
        """Where a value lies, in [0, 1]."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round numbers on it."""
        raw = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def chart(lines: Sequence[Line], x: Axis, y: Axis) -> str:
    """Lines over two axes, with a legend below.

    Args:
        lines: What is drawn; colours go round after eight.
        x: The horizontal axis.
        y: The vertical one.
    """
    rows = -(-len(lines) // 3)
    height = HEIGHT_PX + 18 * rows
    parts = [
        f'<svg viewBox="0 0 {WIDTH_PX} {height}" role="img" '
        f'aria-label="{escape(y.label)} over {escape(x.label)}">'
    ]
    right, bottom = WIDTH_PX - RIGHT_PX, HEIGHT_PX - BOTTOM_PX

    def at(px: float, py: float) -> tuple[float, float]:
        across = LEFT_PX + x.place(px) * (right - LEFT_PX)
        return across, bottom - y.place(py) * (bottom - TOP_PX)

    for tick in y.ticks():
        _, py = at(x.low, tick)
        parts.append(f'<path d="M{LEFT_PX} {py:.1f}H{right}" class="grid"/>')
        parts.append(f'<text x="{LEFT_PX - 6}" y="{py + 4:.1f}" class="y">{tick:g}</text>')
    for tick in x.ticks():
        px, _ = at(tick, y.low)
        parts.append(f'<text x="{px:.1f}" y="{bottom + 16}" class="x">{tick:g}</text>')
    parts.append(f'<path d="M{LEFT_PX} {TOP_PX}V{bottom}H{right}" class="axis"/>')
    middle = (LEFT_PX + right) / 2
    parts.append(f'<text x="{middle}" y="{bottom + 33}" class="x">{escape(x.label)}</text>')
    parts.append(
        f'<text transform="translate(11 {(TOP_PX + bottom) / 2}) rotate(-90)" class="x">'
        f"{escape(y.label)}</text>"
    )
    for i, line in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        places = [at(px, py) for px, py in line.points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        if line.dots:
            parts += [
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in places
            ]
        left, top = LEFT_PX + i % 3 * 130, HEIGHT_PX + 8 + 18 * (i // 3)
        parts.append(f'<rect x="{left}" y="{top - 8}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{left + 15}" y="{top + 1}">{escape(line.name[:20])}</text>')
    return "".join([*parts, "</svg>"])
