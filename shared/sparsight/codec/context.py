"""What a latent is expected to be, told by those before it: a small net of integers.

    NW N NE    latents of the kept neighbours, and a one ─┐
     W  x      the zone of x: a bias ─────────────────────┴─ ReLU ─> hidden ─┐
               the zone of x: a bias ────────────────────────────────────────┤
               x's own latents before k ─> location ─────────────────────────┼─ + ─> location,
               how large they are, ~ log2(1 + |.|) ─> scale ─────────────────┘       scale of k

Cells go row by row over the kept ones, in a cell the channels in order. A zone has steps of its
own, so a latent is brought to base units, those of the channel's finest zone, before it tells
anything, and a location from there to the steps of its own zone.

Other channels of the neighbours tell most, then the cell's own channels (docs/LOG.md). Weights have
16 bits, sums 32, which `Context.is_sound` proves to be enough; what is left is shifts, so both ends
agree on every machine. Known latents of zero, many of all, cost no time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from jaxtyping import Bool, Float, Int8, Int16, Int32, Int64, UInt8

from sparsight.codec.bank import FRACTIONS, SCALES

BEFORE_YX = ((0, -1), (-1, 0), (-1, -1), (-1, 1))
"""Neighbours that are known before a cell, in the order of their weights."""

UNIT = 16
"""Steps of zones are told in sixteenths of the base unit."""

UNITS_MAX = 255

KNOWN_MAX = 127
"""What is known is clipped to it, in base units."""

ONE = 16
"""Stands beside the latents of a kept neighbour, so that its absence tells something too."""

AROUND_BITS = 12
"""Of the fraction of weights from the neighbours."""

HIDDEN_BITS, HIDDEN_MOST = 4, 511
"""Of the fraction of hidden values, and their clip."""

LOCATION_BITS, SCALE_BITS = 13, 12
"""Of the fractions of sums of locations, in base units, and of scales, in rows of the bank."""

SIZES = np.array([(16 * v >> v.bit_length() - 1) + 16 * v.bit_length() - 32 for v in range(1, 129)])
"""About 16 log2(1 + |v|): straight between powers of two."""

_INVERSE_BITS = 18
_LOCATION_SHIFT = LOCATION_BITS + _INVERSE_BITS - 7  # 4 bits of UNIT, 3 of FRACTIONS
_HALF_LOCATION, _HALF_SCALE = 1 << _LOCATION_SHIFT - 1, 1 << SCALE_BITS - 1
_HIDDEN_SHIFT = AROUND_BITS - HIDDEN_BITS


@dataclass(frozen=True)
class Context:
    """The net of one rate. Of a pair, the first is towards locations and the second scales.

    Attributes:
        around: Weights of each neighbour's latents and, last, its one, towards each hidden value.
        lift: Bias of the hidden values in each zone.
        out: Weights of the hidden values.
        own: Weights of a cell's own latents; only those of channels before the told one count.
        bias: Of each zone.
        units: Step of each zone and channel, in sixteenths of the channel's base unit.
    """

    around: Int16[np.ndarray, "places known h"]
    lift: Int32[np.ndarray, "zones h"]
    out: Int16[np.ndarray, "h 2 k"]
    own: Int16[np.ndarray, "k 2 k"]
    bias: Int32[np.ndarray, "zones 2 k"]
    units: UInt8[np.ndarray, "zones k"]

    @cached_property
    def inverse(self) -> Int64[np.ndarray, "zones k"]:
        """2**18 / units, rounded."""
        units = self.units.astype(np.int64)
        out: Int64[np.ndarray, "zones k"] = ((1 << _INVERSE_BITS) + units // 2) // units
        return out

    @property
    def channels(self) -> int:
        """How many channels a latent has."""
        return int(self.units.shape[1])

    def is_sound(self) -> bool:
        """Whether steps are from 1, and no sum can leave 32 bits whatever the latents are."""
        hidden = KNOWN_MAX * _reach(self.around, 2) + _reach(self.lift, 1)
        sums = HIDDEN_MOST * _reach(self.out, 1) + KNOWN_MAX * _reach(self.own, 1)
        most = max(hidden.max(initial=0), (sums + _reach(self.bias, 1)).max())
        return bool((self.units > 0).all() and most < 1 << 31)


def _reach(
    weights: Int16[np.ndarray, "*all"] | Int32[np.ndarray, "*all"], axes: int
) -> Int64[np.ndarray, "*rest"]:
    """The largest sum of weights, whatever their signs, over the first axes."""
    out: Int64[np.ndarray, "*rest"] = np.abs(weights.astype(np.int64)).sum(tuple(range(axes)))
    return out


def base_units(steps: Float[np.ndarray, "zones k"]) -> UInt8[np.ndarray, "zones k"]:
    """Steps of the zones in sixteenths of each channel's smallest."""
    units = np.rint(UNIT * steps / steps.min(0))
    out: UInt8[np.ndarray, "zones k"] = np.clip(units, 1, UNITS_MAX).astype(np.uint8)
    return out


def neighbours(union: Bool[np.ndarray, "h16 w16"]) -> Int32[np.ndarray, "n places"]:
    """For each kept cell, the numbers of the kept cells before it; -1 where there is none."""
    number = np.full((union.shape[0] + 1, union.shape[1] + 2), -1, np.int32)
    inside = number[1:, 1:-1]
    inside[union] = np.arange(union.sum())
    y, x = np.nonzero(union)
    return np.stack([number[y + 1 + dy, x + 1 + dx] for dy, dx in BEFORE_YX], 1)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def look_around(
    near: Int32[np.ndarray, " places"],
    known: Int8[np.ndarray, "n known"],
    told: Int16[np.ndarray, "n known"],
    counts: Int64[np.ndarray, " n"],
    around: Int16[np.ndarray, "places known h"],
    out: Int16[np.ndarray, "h 2 k"],
    hidden: Int32[np.ndarray, " h"],
    sums: Int32[np.ndarray, "2 k"],
) -> None:
    """Add to the sums of a cell what its neighbours tell.

    Args:
        near: Numbers of its neighbours.
        known: Latents of all cells so far in base units, and a one.
        told: Channels of those that are not zero, in order.
        counts: How many those are.
        around: Of the rate.
        out: Likewise.
        hidden: Bias of the zone; changed.
        sums: Towards the location and the scale of each channel.
    """
    for place in range(len(near)):
        cell = near[place]
        if cell >= 0:
            for i in range(counts[cell]):
                channel = told[cell, i]
                value = known[cell, channel]
                for j in range(len(hidden)):
                    hidden[j] += value * around[place, channel, j]
    for j in range(len(hidden)):
        value = min(hidden[j] >> _HIDDEN_SHIFT, HIDDEN_MOST)
        if value > 0:
            for k in range(sums.shape[1]):
                sums[0, k] += value * out[j, 0, k]
            for k in range(sums.shape[1]):
                sums[1, k] += value * out[j, 1, k]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def look_back(
    value: int, channel: int, own: Int16[np.ndarray, "k 2 k"], sums: Int32[np.ndarray, "2 k"]
) -> None:
    """Add to the sums of the later channels what one of the cell tells, in base units."""
    size = SIZES[abs(value)]
    for k in range(channel + 1, sums.shape[1]):
        sums[0, k] += value * own[channel, 0, k]
    for k in range(channel + 1, sums.shape[1]):
        sums[1, k] += size * own[channel, 1, k]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def expected(location: int, scale: int, inverse: int) -> tuple[int, int]:
    """Where in the bank a latent is looked up.

    Args:
        location: Its sum of locations.
        scale: Its sum of scales.
        inverse: Of its zone and channel.

    Returns:
        Row of the bank, and the latent in the middle of the row.
    """
    eighths = (location * inverse + _HALF_LOCATION) >> _LOCATION_SHIFT
    eighths = min(max(eighths, -128 * FRACTIONS), 127 * FRACTIONS)
    row = min(max((scale + _HALF_SCALE) >> SCALE_BITS, 0), SCALES - 1)
    return row * FRACTIONS + (eighths & (FRACTIONS - 1)), eighths >> 3


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def in_base_units(latent: int, units: int) -> int:
    """A latent as others are told of it."""
    value = (latent * units + UNIT // 2) >> 4
    return min(max(value, -KNOWN_MAX), KNOWN_MAX)
