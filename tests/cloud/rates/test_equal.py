"""Interpolation at equal AP and BD-rate against cases that a person can work out."""

import math

import pytest

from sparsight.errors import UsageError
from sparsight_cloud.rates.equal import Point, Reached, bd_rate, bytes_at, frontier

CURVE = (Point(1_000, 0.1), Point(10_000, 0.3))


def test_bytes_are_interpolated_by_their_logarithm() -> None:
    middle = bytes_at(0.2, CURVE)
    assert middle is not None
    assert middle.bytes_per_frame == pytest.approx(math.sqrt(1_000 * 10_000))
    assert not middle.at_most
    quarter = bytes_at(0.15, reversed(CURVE))
    assert quarter is not None
    assert quarter.bytes_per_frame == pytest.approx(1_000 * 10**0.25)


def test_nothing_is_extrapolated() -> None:
    assert bytes_at(0.31, CURVE) is None
    top = bytes_at(0.3, CURVE)
    assert top is not None
    assert top.bytes_per_frame == pytest.approx(10_000)
    assert bytes_at(0.1, CURVE) == Reached(1_000, at_most=False)
    assert bytes_at(0.05, CURVE) == Reached(1_000, at_most=True)
    assert bytes_at(0.05, ()) is None


def test_points_that_cost_more_and_give_less_do_not_count() -> None:
    bad = (Point(5_000, 0.08), Point(20_000, 0.3), Point(1_000, 0.09))
    assert frontier((*bad, *CURVE)) == CURVE
    assert bytes_at(0.2, (*bad, *CURVE)) == bytes_at(0.2, CURVE)


def test_half_the_bytes_everywhere_is_a_bd_rate_of_one_half() -> None:
    half = [Point(point.bytes_per_frame / 2, point.ap) for point in CURVE]
    assert bd_rate(half, CURVE) == pytest.approx(-0.5)
    assert bd_rate(CURVE, half) == pytest.approx(1.0)
    assert bd_rate(CURVE, CURVE) == pytest.approx(0.0)


def test_bd_rate_is_over_the_common_range() -> None:
    # Between AP .2 and .3 the anchor's log10 bytes go from 3.5 to 4, mean 3.75; ours stays at 3
    # until .25 and goes to 4 at .35, so to 3.5 at .3: mean (3 + 3) / 2 / 2 + (3 + 3.5) / 2 / 2.
    ours = [Point(1_000 * (1 - 1e-12), 0.2), Point(1_000, 0.25), Point(10_000, 0.35)]
    assert bd_rate(ours, CURVE) == pytest.approx(10 ** (3.125 - 3.75) - 1, rel=1e-6)


@pytest.mark.parametrize("other", [(), (Point(1, 0.2),), (Point(1, 0.4), Point(2, 0.5))])
def test_without_a_common_range_there_is_no_bd_rate(other: tuple[Point, ...]) -> None:
    assert bd_rate(CURVE, other) is None
    assert bd_rate(other, CURVE) is None


@pytest.mark.parametrize(("size", "ap"), [(0, 0.1), (-1, 0.1), (math.inf, 0.1), (1, math.nan)])
def test_what_has_no_logarithm_is_refused(size: float, ap: float) -> None:
    with pytest.raises(UsageError, match="bytes above 0"):
        Point(size, ap)
