"""The kernels: they invert each other, agree with plain Python, and waste nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Int64, UInt16

from sparsight.codec import reference
from sparsight.codec.bank import SYMBOLS, quantised
from sparsight.codec.rans import LOWEST, TOTAL, advance, push
from sparsight.codec.tables import Coder

Words = UInt16[np.ndarray, " w"]
States = Int64[np.ndarray, " 2"]
Symbols = Int64[np.ndarray, " n"]


def coder_of(*counts: Symbols) -> Coder:
    """A table for each row of counts; symbols behind them are none."""
    rows = np.zeros((len(counts), SYMBOLS), np.int64)
    for row, some in zip(rows, counts, strict=True):
        row[: len(some)] = quantised(some)
    return Coder.of(rows)


def pushed(symbols: Symbols, rows: Symbols, coder: Coder) -> tuple[Words, States]:
    words, states = np.empty(len(symbols), np.uint16), np.zeros(2, np.int64)
    at = push(symbols, rows, coder.starts, words, states)
    return words[at:].copy(), states


def pulled(words: Words, states: States, rows: Symbols, coder: Coder) -> Symbols:
    """The symbols again; every word is used and the states end as they began."""
    states, at, out = states.copy(), 0, np.zeros(len(rows), np.int64)
    for turn, row in enumerate(rows):
        out[turn], at = advance(words, at, states, turn, coder.starts, coder.slots, row)
    assert at == len(words)
    assert states.tolist() == [LOWEST, LOWEST]
    return out


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 200))
@settings(max_examples=60)
def test_kernels_and_plain_python_agree(seed: int, tables: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    widths = rng.integers(1, SYMBOLS + 1, tables)
    coder = coder_of(*(rng.integers(0, 10 ** int(rng.integers(1, 9)), w) for w in widths))
    rows = rng.integers(0, tables, count)
    symbols = rng.integers(0, widths[rows])
    words, states = pushed(symbols, rows, coder)

    starts = coder.starts.tolist()
    told = [(int(s), starts[row]) for s, row in zip(symbols, rows, strict=True)]
    assert reference.push(told) == (words.tolist(), states.tolist())

    np.testing.assert_array_equal(pulled(words, states, rows, coder), symbols)
    puller = reference.Puller(words.tolist(), states.tolist())
    assert [puller(table) for _, table in told] == [s for s, _ in told]
    assert (puller.unread, puller.states) == ([], [LOWEST, LOWEST])


@pytest.mark.parametrize("spread", [0.3, 1, 4, 20])
def test_words_are_within_a_percent_of_the_entropy(spread: float) -> None:
    rng = np.random.default_rng(1)
    coder = coder_of((1e6 * np.exp(-np.abs(np.arange(200) - 90) / spread)).astype(np.int64))
    shares = np.diff(coder.starts[0]) / TOTAL
    symbols = rng.choice(SYMBOLS, 20_000, p=shares)
    bits = -np.log2(shares[symbols]).sum()
    words, states = pushed(symbols, np.zeros_like(symbols), coder)
    assert bits > 8 * 1000
    assert 16 * len(words) + 64 <= 1.01 * bits
    np.testing.assert_array_equal(pulled(words, states, np.zeros_like(symbols), coder), symbols)


def test_the_rarest_symbols_never_overflow_a_state() -> None:
    counts = np.ones(SYMBOLS, np.int64)
    counts[0] = 10**12
    coder = coder_of(counts)
    assert np.diff(coder.starts[0])[1] == 1
    for symbols in (np.full(2000, 255), np.tile([0, 255, 0, 0], 500)):
        words, states = pushed(symbols, np.zeros_like(symbols), coder)
        assert (states >= LOWEST).all() and (states < LOWEST << 16).all()
        assert len(words) <= len(symbols)
        np.testing.assert_array_equal(pulled(words, states, np.zeros_like(symbols), coder), symbols)


def test_a_symbol_that_is_certain_costs_nothing() -> None:
    nothing = np.zeros(1000, np.int64)
    words, states = pushed(nothing, nothing, coder_of(np.array([7])))
    assert len(words) == 0
    assert states.tolist() == [LOWEST, LOWEST]


def test_too_few_words_are_noticed_and_nothing_is_read_beyond_them() -> None:
    coder, rows = coder_of(np.ones(200, np.int64)), np.zeros(400, np.int64)
    words, states = pushed(np.random.default_rng(0).integers(0, 200, 400), rows, coder)
    for kept in (0, 1, len(words) - 1):
        few, left, at = words[:kept], states.copy(), 0
        for turn, row in enumerate(rows):
            _, at = advance(few, at, left, turn, coder.starts, coder.slots, row)
        assert at == -1
