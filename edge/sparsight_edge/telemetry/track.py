"""Where a camera was over time, and where it was at a frame's moment.

    samples: time ─> lat, lon, alt, yaw, pitch, roll (NaN is unknown)
    at(t):   between two samples at most GAP_S apart   on the line between them, field by field
             else the nearest one within NEAR_S        as it is
             else nothing

A drone at 15 m/s is 7 m further after half a second, so a fix a second is not enough as it is.
Angles turn the shorter way round and come out in [-180, 180).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from sparsight.errors import WireError
from sparsight.wire import Telemetry

Field: TypeAlias = Literal["lat_deg", "lon_deg", "alt_m", "yaw_deg", "pitch_deg", "roll_deg"]
FIELDS: tuple[Field, ...] = get_args(Field)

GAP_S = 2.0
"""Samples further apart are not joined by a line."""

NEAR_S = 0.5
"""A sample further from a frame says nothing of it."""

SAMPLES_MAX = 1_000_000
"""Most samples of a track, 56 MB; older ones make room."""

_TURNING = frozenset({"lon_deg", "yaw_deg", "roll_deg"})


class Track:
    """Samples in the order of time; used by one thread."""

    def __init__(self, samples_max: int = SAMPLES_MAX) -> None:
        """A track without samples.

        Args:
            samples_max: Most samples; older ones make room.
        """
        self._max = samples_max
        self._times_s = array("d")
        self._values = array("d")

    def __len__(self) -> int:
        return len(self._times_s)

    @property
    def end_s(self) -> float:
        """The last sample's time; long ago if there is none."""
        return self._times_s[-1] if self._times_s else -math.inf

    def add(self, time_s: float, known: Mapping[Field, float]) -> bool:
        """Add a sample.

        Returns:
            False if it is no later than the last one or for ever, and was left out.
        """
        if not self.end_s < time_s < math.inf:
            return False
        self._times_s.append(time_s)
        self._values.extend(known.get(name, math.nan) for name in FIELDS)
        # A quarter at a time, since all that is left is moved.
        if len(self) > self._max:
            drop = max(1, self._max // 4)
            del self._times_s[:drop], self._values[: drop * len(FIELDS)]
        return True

    def at(self, time_s: float) -> Telemetry | None:
        """Where the camera was; None if it is not known."""
        after = bisect_left(self._times_s, time_s)
        before = max(after - 1, 0)
        after = min(after, len(self) - 1)
        if after < 0:
            return None
        first_s, last_s = self._times_s[before], self._times_s[after]
        if first_s <= time_s <= last_s and last_s - first_s <= GAP_S:
            share = (time_s - first_s) / (last_s - first_s) if last_s > first_s else 0.0
        else:
            share = 0.0 if abs(time_s - first_s) <= abs(time_s - last_s) else 1.0
            if abs(time_s - (last_s if share else first_s)) > NEAR_S:
                return None
        pairs = zip(FIELDS, self._row(before), self._row(after), strict=True)
        return known_only({name: _between(name, a, b, share) for name, a, b in pairs})

    def _row(self, index: int) -> array[float]:
        return self._values[index * len(FIELDS) : (index + 1) * len(FIELDS)]


def known_only(values: Mapping[Field, float]) -> Telemetry | None:
    """Telemetry of the values that make sense; None if none does."""
    good: dict[Field, float] = {}
    for name, value in values.items():
        try:
            Telemetry(**{name: value})
        except WireError:
            continue
        good[name] = value
    return Telemetry(**good) if good else None


def _between(name: Field, a: float, b: float, share: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return a if share < 0.5 else b
    if name not in _TURNING:
        return a + (b - a) * share
    turn = (b - a + 180) % 360 - 180
    return (a + turn * share + 180) % 360 - 180
