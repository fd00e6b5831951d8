"""The kernels: they invert each other, agree with plain Python, and waste nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Int64, UInt16

from sparsight.codec import reference
from sparsight.codec.rans import LOWEST, TOTAL, pull, push
from sparsight.codec.tables import Tables

from .frames import any_tables, laplace_counts, some_tables

Words = UInt16[np.ndarray, " w"]
States = Int64[np.ndarray, " 2"]


def pushed(symbols: Int64[np.ndarray, "k n"], tables: Tables, rate: int) -> tuple[Words, States]:
    """Symbols of each channel, from 0, as words and states."""
    rows = np.repeat(np.arange(symbols.shape[0]), symbols.shape[1])
    words, states = np.empty(symbols.size, np.uint16), np.zeros(2, np.int64)
    at = push(symbols.ravel(), rows, tables.coder(rate).starts, words, states)
    return words[at:].copy(), states


def pulled(
    words: Words, states: States, tables: Tables, rate: int, count: int
) -> Int64[np.ndarray, "k n"]:
    """The symbols of each channel again; every word is used and the states end as they began."""
    coder, states = tables.coder(rate), states.copy()
    out = np.zeros((tables.channels, count), np.int8)
    at = pull(words, states, 0, 0, coder.starts, coder.slots, tables.low[rate], out)
    assert at == len(words)
    assert states.tolist() == [LOWEST, LOWEST]
    symbols: Int64[np.ndarray, "k n"] = out.astype(np.int64) - tables.low[rate][:, None]
    return symbols


@given(st.data(), any_tables())
@settings(max_examples=60)
def test_kernels_and_plain_python_agree(data: st.DataObject, tables: Tables) -> None:
    rate = data.draw(st.integers(0, tables.rates - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count = data.draw(st.integers(0, 60))
    widths = tables.widths[rate].astype(int)
    symbols = rng.integers(0, widths[:, None], (tables.channels, count))
    words, states = pushed(symbols, tables, rate)

    starts = tables.coder(rate).starts.tolist()
    told = [(int(s), starts[k]) for k, row in enumerate(symbols) for s in row]
    assert reference.push(told) == (words.tolist(), states.tolist())

    np.testing.assert_array_equal(pulled(words, states, tables, rate, count), symbols)
    puller = reference.Puller(words.tolist(), states.tolist())
    assert [puller(table) for _, table in told] == [s for s, _ in told]
    assert (puller.unread, puller.states) == ([], [LOWEST, LOWEST])


@pytest.mark.parametrize("rate", [0, 1, 2, 3])
def test_words_are_within_a_percent_of_the_entropy(rate: int) -> None:
    tables = Tables.fit(laplace_counts(4, 64), np.ones((16, 2), np.int64))
    rng = np.random.default_rng(1)
    shares = tables.freqs[rate] / TOTAL
    symbols = np.stack([rng.choice(256, 800, p=share) for share in shares])
    bits = -np.log2(np.take_along_axis(shares, symbols, 1)).sum()
    words, states = pushed(symbols, tables, rate)
    assert bits > 8 * 2000
    assert 16 * len(words) + 64 <= 1.01 * bits
    np.testing.assert_array_equal(pulled(words, states, tables, rate, 800), symbols)


def test_the_rarest_symbols_never_overflow_a_state() -> None:
    counts = np.zeros((1, 1, 256), np.int64)
    counts[0, 0, 0], counts[0, 0, 1:] = 10**12, 1
    tables = Tables.fit(counts, np.ones((16, 2), np.int64))
    assert tables.freqs[0, 0, 1] == 1
    for symbols in (np.full((1, 5000), 255), np.tile([0, 255, 0, 0], 1000)[None]):
        words, states = pushed(symbols, tables, 0)
        assert (states >= LOWEST).all() and (states < LOWEST << 16).all()
        assert len(words) <= symbols.size
        np.testing.assert_array_equal(pulled(words, states, tables, 0, symbols.shape[1]), symbols)


def test_a_symbol_that_is_certain_costs_nothing() -> None:
    counts = np.zeros((1, 2, 256), np.int64)
    counts[0, :, 200] = 7
    tables = Tables.fit(counts, np.ones((16, 2), np.int64))
    words, states = pushed(np.zeros((2, 1000), np.int64), tables, 0)
    assert len(words) == 0
    assert states.tolist() == [LOWEST, LOWEST]


def test_too_few_words_are_noticed_and_nothing_is_read_beyond_them() -> None:
    tables = some_tables()
    symbols = np.random.default_rng(0).integers(0, tables.widths[0].astype(int)[:, None], (8, 50))
    words, states = pushed(symbols, tables, 0)
    coder = tables.coder(0)
    for kept in (0, 1, len(words) - 1):
        out = np.zeros((8, 50), np.int8)
        few, start = words[:kept], states.copy()
        assert pull(few, start, 0, 0, coder.starts, coder.slots, tables.low[0], out) == -1
