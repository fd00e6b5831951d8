"""The bank: rows that sum to 2**14, near what was counted; an escape that is unused is cheap."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import Int64

from sparsight.codec.bank import (
    ESCAPE,
    FRACTIONS,
    MIDDLE,
    ROWS,
    SCALES,
    fit_bank,
    logistic_rows,
    quantised,
)
from sparsight.codec.rans import TOTAL

from .frames import NOTHING

COUNTS = hnp.arrays(np.int64, st.integers(1, 256), elements=st.integers(0, 10**10))


@given(COUNTS)
@example(np.array([10**9] + [1] * 255))  # many rare symbols beside a sure one
@settings(max_examples=60)
def test_frequencies_sum_to_two_to_the_fourteen(counts: Int64[np.ndarray, " n"]) -> None:
    freqs = quantised(counts)
    assert freqs.sum() == TOTAL
    assert freqs.min() >= 1
    np.testing.assert_array_equal(quantised(counts), freqs)
    order = np.argsort(counts, kind="stable")
    assert (np.diff(freqs[order]) >= -1).all()  # more often seen, not less likely


def test_integer_frequencies_cost_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    for scale in (0.4, 3, 20):
        counts = np.bincount(np.abs(rng.laplace(0, scale, 20_000)).astype(int))
        seen = counts[counts > 0]
        share = seen / seen.sum()
        ideal = -(share * np.log2(share)).sum()
        spent = -(share * np.log2(quantised(seen) / TOTAL)).sum()
        assert spent - ideal < 0.002 * ideal + 0.001


def test_the_start_is_logistic_distributions() -> None:
    shares = logistic_rows()
    np.testing.assert_allclose(shares.sum(1), 1)
    distance = np.arange(ESCAPE) - MIDDLE
    middles = (shares[:, :ESCAPE] * distance).sum(1)
    some = slice(10 * FRACTIONS, 20 * FRACTIONS)  # neither all in one symbol nor cut at the ends
    np.testing.assert_allclose(
        middles[some], np.tile(np.arange(FRACTIONS) / FRACTIONS, 10), atol=0.02
    )
    spread = np.sqrt((shares[:, :ESCAPE] * distance**2).sum(1) - middles**2)[::FRACTIONS]
    assert (np.diff(spread) > 0).all()
    assert spread[0] < 0.01 and spread[-1] > 40
    assert len(spread) == SCALES


def test_rows_tell_what_14_bits_can_and_escape_from_the_rest() -> None:
    bank = fit_bank(NOTHING)
    assert bank.dtype == np.uint16
    assert (bank.sum(1, dtype=int) == TOTAL).all()
    assert (bank[:, ESCAPE] >= 1).all()
    narrow = bank[: 12 * FRACTIONS, ESCAPE]
    assert narrow.max() <= 8  # costs less than a thousandth of a bit where it isn't used
    for row in bank:
        told = np.flatnonzero(row[:ESCAPE])
        assert (np.diff(told) == 1).all()  # no holes
    assert (bank[0] > 0).sum() <= 4


def test_what_is_counted_takes_over() -> None:
    counts = NOTHING.copy()
    row = 10 * FRACTIONS
    counts[row, [MIDDLE - 20, MIDDLE + 20]] = 10**6
    bank = fit_bank(counts)
    assert bank[row, MIDDLE - 20] + bank[row, MIDDLE + 20] > 0.99 * TOTAL
    others = np.arange(ROWS) != row
    np.testing.assert_array_equal(bank[others], fit_bank(NOTHING)[others])
