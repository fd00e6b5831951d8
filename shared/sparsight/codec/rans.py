"""rANS over integer tables: the numba kernels.

    symbols, tables ─ push, last first ─> words (uint16) ; states
    words ─ advance, the first first ─> symbols, one by one

Asymmetric numeral systems (Duda, arXiv 1311.2540) in the range variant: a 32-bit state, 14-bit
frequencies, 16-bit words, two states that take turns so that a processor works on both at once. All
arithmetic is integer; the same bytes come out on every machine. `reference` says the same in plain
Python and the two agree byte for byte.

A symbol is coded with a *table*: the row of `starts` that holds the sums of frequencies before each
symbol, 0 to 2**14. Marks (`marks`) and latents (`latents`) choose theirs by what is known around
them, so each is decoded before the table of the next is known.
"""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Int, Int32, Int64, UInt8, UInt16

PROBABILITY_BITS = 14
TOTAL = 1 << PROBABILITY_BITS
LOWEST = 1 << 16
"""A state is never below it between symbols, and below it times 2**16 always."""

WAYS = 2


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def push(
    symbols: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " n"],
    starts: Int32[np.ndarray, "t s"],
    words: UInt16[np.ndarray, " cap"],
    states: Int64[np.ndarray, " 2"],
) -> int:
    """Code symbols, the last first.

    Args:
        symbols: From 0, each within its table.
        rows: The table of each.
        starts: Sum of the frequencies before each symbol, for every table.
        words: Filled from the end; one a symbol is always enough.
        states: Filled with the final states.

    Returns:
        Index of the first word.
    """
    at = len(words)
    a = b = np.int64(1) << 16
    for i in range(len(symbols) - 1, -1, -1):
        row, symbol = rows[i], symbols[i]
        start = starts[row, symbol]
        width = starts[row, symbol + 1] - start
        x = b if i & 1 else a
        # Below this the state stays below 2**32 after the symbol.
        if x >= width << 18:
            at -= 1
            words[at] = x & 0xFFFF
            x >>= 16
        x = ((x // width) << 14) + x % width + start
        if i & 1:
            b = x
        else:
            a = x
    states[0], states[1] = a, b
    return at


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def advance(
    words: UInt16[np.ndarray, " w"],
    at: int,
    states: Int64[np.ndarray, " 2"],
    turn: int,
    starts: Int32[np.ndarray, "t s"],
    slots: UInt8[np.ndarray, "t 256"],
    row: int,
) -> tuple[np.int64, int]:
    """Decode one symbol.

    Args:
        words: Coded words.
        at: Index of the next word; -1 if there were too few before.
        states: The two states.
        turn: Number of symbols decoded before, which says whose turn it is.
        starts: As for `push`.
        slots: Symbol of every 64th of the 2**14 slots, for every table. The symbol of each would be
            4 MB, which is more than a core has near: 54 ns a latent went into waiting for them.
        row: The table of this symbol.

    Returns:
        The symbol, and the index of the next word; -1 if there were too few.
    """
    x = states[turn & 1]
    slot = x & 0x3FFF
    symbol = np.int64(slots[row, slot >> 6])
    while starts[row, symbol + 1] <= slot:
        symbol += 1
    start = np.int64(starts[row, symbol])
    x = (starts[row, symbol + 1] - start) * (x >> 14) + slot - start
    if x < 0x10000:
        if at < 0 or at >= len(words):
            return symbol, -1
        x = (x << 16) | np.int64(words[at])
        at += 1
    states[turn & 1] = x
    return symbol, at
