"""Curves of bytes against accuracy, held against each other. Pure functions.

    points (bytes, AP) ─ sorted, worse for more bytes left out ─> frontier
    frontier ─ linear between points, in log bytes ─┬─ bytes at an AP ─> ratio at equal AP
                                                    └─ mean over the common range ─> BD-rate

Nothing is extrapolated. A curve that lies above an AP from its first point on needs at most that
point's bytes there; one that never comes up to it has no bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from sparsight.errors import UsageError


@dataclass(frozen=True, slots=True)
class Point:
    """A row of a curve.

    Attributes:
        bytes_per_frame: More than 0.
        ap: In [0, 1].
    """

    bytes_per_frame: float
    ap: float

    def __post_init__(self) -> None:
        """Refuse what has no logarithm.

        Raises:
            UsageError: No bytes, or no number.
        """
        if not (self.bytes_per_frame > 0 and math.isfinite(self.bytes_per_frame + self.ap)):
            raise UsageError(
                f"point: expected bytes above 0 and an AP, got {self.bytes_per_frame}, {self.ap}"
            )


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a curve reaches an AP.

    Attributes:
        bytes_per_frame: Bytes that it takes there.
        at_most: The curve begins above that AP: it takes these bytes or fewer.
    """

    bytes_per_frame: float
    at_most: bool


def frontier(points: Iterable[Point]) -> tuple[Point, ...]:
    """The points that no other beats with fewer bytes: both measures strictly rise."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bytes_per_frame, -p.ap)):
        if not best or point.ap > best[-1].ap:
            best.append(point)
    return tuple(best)


def bytes_at(ap: float, points: Iterable[Point]) -> Reached | None:
    """Bytes that a curve takes for an AP; None if it never comes up to it.

    Args:
        ap: What is to be reached.
        points: Of the curve, in any order.
    """
    curve = frontier(points)
    if not curve or curve[-1].ap < ap:
        return None
    if curve[0].ap >= ap:
        return Reached(curve[0].bytes_per_frame, at_most=curve[0].ap > ap)
    log_bytes = np.interp(ap, *_arrays(curve))
    return Reached(math.exp(log_bytes), at_most=False)


def bd_rate(points: Iterable[Point], anchor: Iterable[Point]) -> float | None:
    """How many more bytes than the anchor's a curve takes on average, at equal AP (Bjontegaard).

    Piecewise-linear, so it is exact for what is drawn and can't overshoot between points, as the
    usual polynomials do.

    Args:
        points: Of the curve.
        anchor: Of the one that it is held against.

    Returns:
        A share of the anchor's bytes: -0.5 is half of them. None without a common range of AP.
    """
    ours, theirs = frontier(points), frontier(anchor)
    if min(len(ours), len(theirs)) < 2:
        return None
    low = max(ours[0].ap, theirs[0].ap)
    high = min(ours[-1].ap, theirs[-1].ap)
    if high <= low:
        return None
    mean_logs = [_mean_log(low, high, curve) for curve in (ours, theirs)]
    return math.expm1(mean_logs[0] - mean_logs[1])


def _mean_log(low: float, high: float, curve: tuple[Point, ...]) -> float:
    """Mean of log bytes between two APs of a curve."""
    aps, logs = _arrays(curve)
    at = np.unique(np.concatenate(([low, high], aps[(aps > low) & (aps < high)])))
    values = np.interp(at, aps, logs)
    return float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(at)) / (high - low))


def _arrays(
    curve: tuple[Point, ...],
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """APs, rising, and log bytes."""
    aps = np.array([point.ap for point in curve])
    return aps, np.log([point.bytes_per_frame for point in curve])
