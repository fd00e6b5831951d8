"""The picture of `bench.scale`: the model against what was measured, and what fleets need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.svg import line, page, text

WIDTH_PX, HEIGHT_PX, PANEL_PX, TOP_PX, BOTTOM_PX = 960, 380, 380, 60, 320
LEFTS_PX = (70, 560)
COLOURS = ("#1d3557", "#c1121f", "#2a9d8f", "#e09f3e")


def chart(found: Mapping[str, Any]) -> str:
    """Draw a report."""
    return page(WIDTH_PX, HEIGHT_PX, [*_trips(found), *_needs(found)])


def _trips(found: Mapping[str, Any]) -> list[str]:
    """Percentiles of the trips: a line measured, a dashed one modelled."""
    left = LEFTS_PX[0]
    longest = max(max(one["trips_ms"] + one["model_trips_ms"]) for one in found["points"])

    def place(percent: float, ms: float) -> tuple[float, float]:
        return left + ms / longest * PANEL_PX, BOTTOM_PX - percent / 100 * (BOTTOM_PX - TOP_PX)

    parts = [text(left, TOP_PX - 30, "Share of frames answered within, ms", size=14)]
    for percent in (0, 50, 100):
        y = place(percent, 0)[1]
        parts.append(line([(left, y), (left + PANEL_PX, y)], "#e6e6e6", 1))
        parts.append(text(left - 6, y + 4, f"{percent} %", anchor="end", size=11))
    step = 10 ** math.floor(math.log10(longest))
    for ms in range(0, int(longest) + 1, step):
        parts.append(text(place(0, ms)[0], BOTTOM_PX + 16, f"{ms}", anchor="middle", size=11))
    for i, (one, colour) in enumerate(zip(found["points"], COLOURS, strict=False)):
        for name, dashes in (("trips_ms", ""), ("model_trips_ms", "5 4")):
            points = [place(p, ms) for p, ms in zip(one["percents"], one[name], strict=True)]
            parts.append(line(points, colour, 2, dashes))
        words = f"{one['replicas']} replicas, {one['offered_per_s']:.1f} frames/s (dashed: model)"
        parts.append(text(left + 120, BOTTOM_PX - 30 + 16 * i, words, size=11, colour=colour))
    return parts


def _needs(found: Mapping[str, Any]) -> list[str]:
    """Replicas over devices, both in powers of ten."""
    left = LEFTS_PX[1]
    needs = [one for one in found["needs"] if one["replicas"] is not None]
    parts = [text(left, TOP_PX - 30, "Replicas that a fleet needs", size=14)]
    if not needs:
        return [*parts, text(left, TOP_PX, "no number is enough")]
    (low_x, high_x), (low_y, high_y) = (
        _decades([one[name] for one in needs]) for name in ("devices", "replicas")
    )

    def place(devices: float, replicas: float) -> tuple[float, float]:
        x = (math.log10(devices) - low_x) / (high_x - low_x)
        y = (math.log10(replicas) - low_y) / (high_y - low_y)
        return left + x * (PANEL_PX - 40), BOTTOM_PX - y * (BOTTOM_PX - TOP_PX)

    for decade in range(low_y, high_y + 1):
        y = place(1, 10**decade)[1]
        parts.append(line([(left, y), (left + PANEL_PX - 40, y)], "#e6e6e6", 1))
        parts.append(text(left - 6, y + 4, f"{10**decade:,}", anchor="end", size=11))
    for decade in range(low_x, high_x + 1):
        x = place(10**decade, 1)[0]
        parts.append(text(x, BOTTOM_PX + 16, f"{10**decade:,}", anchor="middle", size=11))
    parts.append(text(left + PANEL_PX / 2, BOTTOM_PX + 36, "devices", anchor="middle", size=11))
    for speed, colour in zip(sorted({one["speed"] for one in needs}), COLOURS, strict=False):
        some = [one for one in needs if one["speed"] == speed]
        points = [place(one["devices"], one["replicas"]) for one in some]
        parts.append(line(points, colour, 2))
        for (x, y), one in zip(points, some, strict=True):
            parts.append(text(x + 4, y - 6, f"{one['replicas']:,}", size=11, colour=colour))
        name = "a core, as measured" if speed == 1 else f"{speed:g} times a core, assumed"
        x, y = points[len(points) // 2]
        parts.append(text(x + 40, y + 14, name, size=11, colour=colour))
    return parts


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around some values, two at least."""
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))
