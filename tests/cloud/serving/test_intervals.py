import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsight_cloud.serving.intervals import Intervals

NUMBERS = st.lists(st.integers(0, 40), max_size=60)


@given(NUMBERS)
def test_it_is_a_set(numbers: list[int]) -> None:
    intervals = Intervals()
    for number in numbers:
        intervals.add(number)
    assert intervals.count == len(set(numbers))
    assert {n for n in range(45) if n in intervals} == set(numbers)
    runs = list(intervals)
    assert all(start < end for start, end in runs)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(runs)), "runs that touch are one"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=20))
def test_it_can_be_made_of_runs_that_overlap(runs: list[tuple[int, int]]) -> None:
    wanted = {n for start, end in runs for n in range(start, end)}
    assert {n for n in range(45) if n in Intervals(runs)} == wanted


@pytest.mark.parametrize("order", [range(10_000), range(9_999, -1, -1)])
def test_numbers_in_order_are_one_run(order: range) -> None:
    intervals = Intervals()
    for number in order:
        intervals.add(number)
    assert list(intervals) == [(0, 10_000)]


def test_the_largest_numbers_of_the_wire_fit() -> None:
    intervals = Intervals([(0, 2**64)])
    assert 2**64 - 1 in intervals
    intervals.add(2**64 - 1)
    assert list(intervals) == [(0, 2**64)]
