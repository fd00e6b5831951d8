"""From single shots to the figures of a table, and each as a ratio to dense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from bench.peak import Peak
from bench.shots import Shot

BASE = "dense"
RATIOS = ("gflops", "ms_median", "ms_mean", "model_ms", "peak_bytes", "peak_deep_bytes")
"""Figures that are also given over those of `BASE`, as `<name>_ratio`."""

Row = dict[str, Any]


def rows(
    shots: Mapping[str, Sequence[Shot]], peaks: Mapping[str, Sequence[Peak]]
) -> dict[str, Row]:
    """Figures of every way, and their ratios to dense.

    Args:
        shots: Shots of the same frames for every way.
        peaks: Memory of some of the frames, the same ones for every way; none where not measured.

    Returns:
        For each way `gflops`, `ms_median`, `ms_mean` (from pixels to objects), `model_ms` (what the
        detector's stages took), `stages_ms`, `kept_area`, `runs`, `peak_bytes`, `peak_deep_bytes`
        (means; None where not measured), and the ratios.
    """
    out = {key: _row(some, peaks.get(key, ())) for key, some in shots.items()}
    for row in out.values():
        for name in RATIOS:
            row[f"{name}_ratio"] = ratio(row[name], out[BASE][name] if BASE in out else None)
    return out


def ratio(part: float | None, whole: float | None) -> float | None:
    """One figure over another; None where one is missing or the other is zero."""
    return part / whole if part is not None and whole else None


def pick(shots: Mapping[str, Sequence[Shot]], indices: Sequence[int]) -> dict[str, list[Shot]]:
    """The shots of some frames."""
    return {key: [some[i] for i in indices] for key, some in shots.items()}


def spread(count: int, most: int) -> list[int]:
    """At most so many indices below `count`, evenly spread, none at the very ends."""
    most = min(most, count)
    return [(2 * i + 1) * count // (2 * most) for i in range(most)]


def rounded(value: Any) -> Any:
    """A report with floats of six digits, which is all that is measured, ready for JSON."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, (list, tuple)) else value


def _row(shots: Sequence[Shot], peaks: Sequence[Peak]) -> Row:
    answers = [shot.answer for shot in shots]
    stages = dict.fromkeys(stage for answer in answers for stage in answer.times_ms)
    kept = [answer.kept_area for answer in answers if answer.kept_area is not None]
    return {
        "frames": len(shots),
        "gflops": fmean(answer.gflops for answer in answers),
        "ms_median": median(shot.ms for shot in shots),
        "ms_mean": fmean(shot.ms for shot in shots),
        "model_ms": fmean(sum(answer.times_ms.values()) for answer in answers),
        "stages_ms": {s: fmean(answer.times_ms.get(s, 0.0) for answer in answers) for s in stages},
        "kept_area": fmean(kept) if kept else None,
        "runs": fmean(answer.runs for answer in answers),
        "peak_bytes": fmean(peak.total_bytes for peak in peaks) if peaks else None,
        "peak_deep_bytes": fmean(peak.deep_bytes for peak in peaks) if peaks else None,
    }
