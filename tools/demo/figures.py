"""What the demo came to, in figures: those of all frames, and those of each camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tools.demo.judging import Ap, Judge
from tools.demo.outcomes import Latency, Outcome
from tools.demo.rivals import Sizes

from sparsight.detections import Detections

PARTS = ("total", *(field.name for field in fields(Latency)))
"""What a latency is split into; the parts of a frame add up to its total, quantiles do not."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Some frames. Means are over what there is; None where there is nothing.

    Attributes:
        planned: Frames that should have been sent.
        sent: Those that the device spooled.
        committed: Those that the cloud has, each counted once.
        lost: Planned, but not committed.
        duplicated: Commits beyond the first of a frame.
        bytes_per_frame: Mean payload of a committed frame.
        jpeg_bytes: Mean size of the same pictures as JPEG.
        avif_bytes: Mean size as AVIF.
        latency_ms: 50th and 99th percentile of each of `PARTS`.
        ap: How well the objects that the cloud committed are.
        in_process: How well those of one process are.
    """

    planned: int
    sent: int
    committed: int
    lost: int
    duplicated: int
    bytes_per_frame: float | None
    jpeg_bytes: float | None
    avif_bytes: float | None
    latency_ms: dict[str, dict[str, float] | None]
    ap: Ap
    in_process: Ap


def figures_of(
    outcomes: Sequence[Outcome],
    sizes: Mapping[Path, Sizes],
    in_process: Mapping[Path, Detections],
    judge: Judge,
) -> Figures:
    """Add up.

    Args:
        outcomes: What became of the frames.
        sizes: Of their pictures.
        in_process: What one process found in them.
        judge: Knows their boxes.
    """
    committed = [one for one in outcomes if one.commits]
    pictures = [one.picture for one in outcomes]
    times = [one.latency for one in outcomes if one.latency is not None]
    return Figures(
        planned=len(outcomes),
        sent=sum(one.sent for one in outcomes),
        committed=len(committed),
        lost=len(outcomes) - len(committed),
        duplicated=sum(one.commits - 1 for one in committed),
        bytes_per_frame=_mean([one.payload_bytes for one in committed]),
        jpeg_bytes=_mean([sizes[picture].jpeg_bytes for picture in pictures]),
        avif_bytes=_mean([sizes[picture].avif_bytes for picture in pictures]),
        latency_ms={part: _percentiles([getattr(one, part) for one in times]) for part in PARTS},
        ap=judge.judge({one.picture: one.found for one in committed if one.found is not None}),
        in_process=judge.judge({picture: in_process[picture] for picture in pictures}),
    )


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures under the names that scripts know; APs are from 0 to 1."""
    return {
        "frames_sent": figures.sent,
        "frames_committed": figures.committed,
        "frames_lost": figures.lost,
        "frames_duplicated": figures.duplicated,
        "bytes_per_frame": _rounded(figures.bytes_per_frame, 1),
        "jpeg75_bytes_per_frame": _rounded(figures.jpeg_bytes, 1),
        "avif_bytes_per_frame": _rounded(figures.avif_bytes, 1),
        "latency_ms": {
            part: values and {name: round(value, 2) for name, value in values.items()}
            for part, values in figures.latency_ms.items()
        },
        "ap": _rounded(figures.ap.ap, 5),
        "ap50": _rounded(figures.ap.ap50, 5),
        "ap_in_process": _rounded(figures.in_process.ap, 5),
    }


def _mean(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _percentiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": float(p50), "p99": float(p99)}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
