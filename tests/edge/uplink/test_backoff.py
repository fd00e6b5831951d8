import pytest

from sparsight_edge.backoff import Backoff


def test_waits_double_up_to_the_cap_and_begin_anew() -> None:
    waits = Backoff(0.5, 10, chance=lambda: 0.0)
    assert [waits.next_s() for _ in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]
    assert waits.slow_s() == 10
    waits.reset()
    assert waits.next_s() == 0.5


def test_chance_shortens_a_wait_by_a_half_at_most() -> None:
    waits = Backoff(1, 60, chance=lambda: 0.999)
    assert waits.next_s() == pytest.approx(0.5, abs=0.01)
    assert waits.slow_s() == pytest.approx(30, abs=0.1)


def test_never_before_the_other_side_wants_it() -> None:
    waits = Backoff(0.5, 10, chance=lambda: 0.5)
    assert 60 <= waits.next_s(60) <= 66


def test_a_thousand_tries_are_still_a_number() -> None:
    waits = Backoff(0.5, 10, chance=lambda: 0.0)
    assert [waits.next_s() for _ in range(2000)][-1] == 10
