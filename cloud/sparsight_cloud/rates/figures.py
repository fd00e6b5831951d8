"""Results of rows to figures: means, average precision, and rivals held against ours.

shots of a row ─┬─ bytes, times ─> means
                └─ objects ─ judge, each detector's ─> AP, the better one counts
rows ─ curves ─ rivals (the cheapest curve of each kind) ─> ratio at equal AP, BD-rate
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.classes import ClassMatch
from sparsight_cloud.evaluation.coco_ap import average_precision
from sparsight_cloud.rates.equal import Point, bd_rate, bytes_at
from sparsight_cloud.rates.rows import UNCODED, Curve, Row
from sparsight_cloud.rates.shots import Shot

AP_GIVEN_UP = 0.005
"""Rivals are compared at this much below ours without a codec."""

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Ap:
    """AP of one detector on one row; None where nothing is labelled."""

    ap: float | None
    ap50: float | None


@dataclass(frozen=True, slots=True)
class RowFigures:
    """What a row came to.

    Attributes:
        row: Which.
        bytes_per_frame: Mean over the frames, framing included.
        by_detector: AP of each detector that looked at it.
        detector: The one with the higher AP.
        figures: Means of the shots' own measurements.
    """

    row: Row
    bytes_per_frame: float
    by_detector: Mapping[str, Ap]
    detector: str
    figures: Mapping[str, float]

    @property
    def best(self) -> Ap:
        """That of the better detector."""
        return self.by_detector[self.detector]


@dataclass(frozen=True, slots=True)
class Rival:
    """One kind of sending pixels against ours.

    Attributes:
        curve: The cheapest curve of the kind at the target, or the one that comes nearest.
        bytes_per_frame: What it takes at the target; None if it never comes up to it.
        at_most: It takes that much or less.
        over_ours: Its bytes over ours; None if one of them never comes up to the target.
        bd_rate: How many more bytes ours takes on average, as a share of the rival's; the worst for
            us of the kind's curves. None without a common range.
    """

    curve: str
    bytes_per_frame: float | None
    at_most: bool
    over_ours: float | None
    bd_rate: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows on some frames.

    Attributes:
        frames: How many.
        boxes: Labelled boxes on them, of classes that the bundle knows.
        reference: AP without any codec: on whole frames, on patches (`split`), which rivals are
            compared at, and on patches with their halo.
        rows: In the order of the plan.
        target_ap: At which rivals are compared; None without a reference.
        ours_bytes: What ours takes there; None if it never comes up to it.
        rivals: By kind.
    """

    frames: int
    boxes: int
    reference: Mapping[str, Ap]
    rows: tuple[RowFigures, ...]
    target_ap: float | None
    ours_bytes: float | None
    rivals: Mapping[str, Rival]


def compared(
    shots: Mapping[Row, Sequence[Shot]], dataset: Dataset, match: ClassMatch | None
) -> Comparison:
    """Hold all rows against each other.

    Args:
        shots: Of each row, those of all frames in the data set's order.
        dataset: The frames, at least one.
        match: The bundle's classes on the data set's; None if nothing is labelled.
    """
    labelled = match.dataset(dataset) if match else dataset
    rows = tuple(_row_figures(row, shots[row], labelled, match) for row in shots)
    reference = next((r.by_detector for r in rows if r.row.curve.name == UNCODED), {})
    rows = tuple(r for r in rows if r.row.curve.name != UNCODED)
    uncoded = reference.get("split", Ap(None, None)).ap
    target = None if uncoded is None else uncoded - AP_GIVEN_UP
    curves = _points(rows)
    ours = bytes_at(target, curves.get(OURS, ())) if target is not None else None
    ours_bytes = ours.bytes_per_frame if ours else None
    kinds: dict[str, list[str]] = {}
    for row in rows:
        kind, name = kind_of(row.row.curve), row.row.curve.name
        if kind != OURS and name in curves and name not in kinds.setdefault(kind, []):
            kinds[kind].append(name)
    rivals = {
        kind: _rival(
            {name: curves[name] for name in names}, target, curves.get(OURS, ()), ours_bytes
        )
        for kind, names in kinds.items()
    }
    return Comparison(
        len(labelled.images), labelled.boxes, reference, rows, target, ours_bytes, rivals
    )


def part(
    shots: Mapping[Row, Sequence[Shot]], dataset: Dataset, chosen: Sequence[int]
) -> tuple[dict[Row, list[Shot]], Dataset]:
    """Some of the frames: their shots, and their data set."""
    images = tuple(dataset.images[i] for i in chosen)
    return {row: [all_[i] for i in chosen] for row, all_ in shots.items()}, replace(
        dataset, images=images
    )


def kind_of(curve: Curve) -> str:
    """What a curve is a variant of: of crops and regions the cheapest one counts."""
    if curve.family in ("crops", "roi", "raw"):
        return f"{curve.family}_tuned" if curve.tuned else curve.family
    return curve.name


def _row_figures(
    row: Row, shots: Sequence[Shot], labelled: Dataset, match: ClassMatch | None
) -> RowFigures:
    aps = {name: _ap(name, shots, labelled, match) for name in shots[0].found}
    names = dict.fromkeys(name for shot in shots for name in shot.figures)
    return RowFigures(
        row=row,
        bytes_per_frame=fmean(shot.wire_bytes for shot in shots),
        by_detector=aps,
        detector=max(aps, key=lambda name: aps[name].ap or 0.0),
        figures={name: fmean(shot.figures.get(name, 0.0) for shot in shots) for name in names},
    )


def _ap(detector: str, shots: Sequence[Shot], labelled: Dataset, match: ClassMatch | None) -> Ap:
    if match is None:
        return Ap(None, None)
    found = [match.detections(shot.found[detector]) for shot in shots]
    report = average_precision(labelled, found)
    return Ap(report.ap, report.ap50)


def _points(rows: Sequence[RowFigures]) -> dict[str, tuple[Point, ...]]:
    """The curves that can be drawn."""
    curves: dict[str, tuple[Point, ...]] = {}
    for row in rows:
        ap = row.best.ap
        if ap is not None:
            name = row.row.curve.name
            curves[name] = (*curves.get(name, ()), Point(row.bytes_per_frame, ap))
    return curves


def _rival(
    curves: Mapping[str, tuple[Point, ...]],
    target: float | None,
    ours: tuple[Point, ...],
    ours_bytes: float | None,
) -> Rival:
    there = {name: bytes_at(target, curves[name]) for name in curves} if target is not None else {}
    reached = {name: one for name, one in there.items() if one is not None}
    rates = [rate for one in curves.values() if (rate := bd_rate(ours, one)) is not None]
    worst = max(rates) if rates else None
    if not reached:
        nearest = max(curves, key=lambda name: max(point.ap for point in curves[name]))
        return Rival(nearest, None, at_most=False, over_ours=None, bd_rate=worst)
    cheapest = min(reached, key=lambda name: reached[name].bytes_per_frame)
    size = reached[cheapest].bytes_per_frame
    over = size / ours_bytes if ours_bytes else None
    return Rival(cheapest, size, reached[cheapest].at_most, over, worst)


def finite(value: float | None) -> float | None:
    """Six digits, and nothing for what is no number: JSON has none of the others."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
