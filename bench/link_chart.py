"""The picture of a run on a shaped link: four curves under each other over one time. Plain SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.svg import line, page, text

WIDTH_PX, PANEL_PX, GAP_PX, LEFT_PX, TOP_PX = 960, 110, 26, 74, 60
RED, BLUE, GREY = "#c1121f", "#1d3557", "#bbbbbb"
KBPS = (10.0, 30_000.0)


@dataclass(frozen=True, slots=True)
class _Panel:
    """One of the four; `place` gives a value's share of the height, 0 at the bottom."""

    title: str
    top_px: float
    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]

    def y(self, value: float) -> float:
        share = min(1.0, max(0.0, self.place(value)))
        return self.top_px + (1 - share) * PANEL_PX


def chart(found: dict[str, Any]) -> str:
    """Draw a report of `bench.link`."""
    series, steps = found["series"], found["steps"]
    seconds: float = steps[-1]["end_s"]

    def x(second: float) -> float:
        return LEFT_PX + second / seconds * (WIDTH_PX - LEFT_PX - 20)

    oldest_s = max(4.0, *(one["queue_s"] for one in series))
    best = max([one["ap"] for one in steps if one["ap"] is not None], default=0.0) or 1.0
    link, queue, rate, ap = _panels(oldest_s, best)
    parts = [text(LEFT_PX, 20, _title(found), size=15)]
    for panel in (link, queue, rate, ap):
        parts.append(text(LEFT_PX, panel.top_px - 5, panel.title, colour="#444444"))
        for value, label in panel.ticks:
            y = panel.y(value)
            parts.append(line([(LEFT_PX, y), (WIDTH_PX - 20, y)], "#e6e6e6", 1))
            parts.append(text(LEFT_PX - 6, y + 4, label, anchor="end", size=11))
    bottom = ap.top_px + PANEL_PX
    for step, shape in zip(steps, found["links"], strict=True):
        left, right = x(step["begin_s"]), x(step["end_s"])
        parts.append(line([(left, TOP_PX - 20), (left, bottom)], GREY, 1, "3 3"))
        parts.append(text(left + 4, TOP_PX - 24, step["name"], size=11))
        y = link.y(shape["kbps"] or KBPS[0])
        parts.append(line([(left, y), (right, y)], "#888888", 2))
        if step["ap"] is not None:
            y = ap.y(step["ap"])
            parts.append(line([(left, y), (right, y)], BLUE, 3))
            said = f"{step['ap']:.1%}, {step['answered']} of {step['frames']}"
            parts.append(text(left + 4, y - 5, said, size=11))
        else:
            parts.append(text(left + 4, bottom - 5, "nothing taken", size=11))
    if found["max_kbps"]:
        y = link.y(found["max_kbps"])
        parts.append(line([(LEFT_PX, y), (WIDTH_PX - 20, y)], RED, 1, "6 4"))
    for panel, name in ((link, "sent_kbps"), (queue, "queue_s"), (rate, "rate")):
        points = [(x(one["s"]), panel.y(one[name])) for one in series if one[name] is not None]
        parts.append(line(points, RED if panel is link else BLUE, 1.6))
    height = bottom + 30
    parts.append(text(WIDTH_PX - 20, height - 10, f"{seconds:.0f} s", anchor="end", size=11))
    return page(WIDTH_PX, height, parts)


def _title(found: dict[str, Any]) -> str:
    promise = f"--max-kbps {found['max_kbps']:g}" if found["max_kbps"] else "no promise"
    return f"edge run {promise} on a shaped link, {found['fps']:g} frames a second"


def _panels(oldest_s: float, best: float) -> tuple[_Panel, _Panel, _Panel, _Panel]:
    low, high = map(math.log, KBPS)
    tops = [TOP_PX + i * (PANEL_PX + GAP_PX) for i in range(4)]
    return (
        _Panel(
            "kbit/s: link (grey), sent (red), promise (dashed)",
            tops[0],
            lambda kbps: (math.log(max(kbps, KBPS[0])) - low) / (high - low),
            [(10.0, "10"), (100.0, "100"), (1000.0, "1 000"), (10_000.0, "10 000")],
        ),
        _Panel(
            "queue age, s",
            tops[1],
            lambda age_s: age_s / oldest_s,
            [(0.0, "0"), (oldest_s / 2, f"{oldest_s / 2:.0f}"), (oldest_s, f"{oldest_s:.0f}")],
        ),
        _Panel(
            "rate of the codec, 0 the finest",
            tops[2],
            lambda rate: 1 - rate / 4,
            [(float(rate), str(rate)) for rate in range(5)],
        ),
        _Panel(
            "AP of the frames taken in a step, and how many of them were answered",
            tops[3],
            lambda ap: ap / best / 1.2,
            [(0.0, "0"), (best / 2, f"{best / 2:.0%}"), (best, f"{best:.0%}")],
        ),
    )
