"""Latents through the entropy coder: each with the row of the bank that its context says.

    latents ─ as_symbols ─> symbols, rows ─ rans.push, with the marks' before them ─> words
    words ─ pull_latents, one after another, since each tells of the next ─> latents

A symbol is the distance from the expected middle; one too far for its row is an escape, and after
it the latent itself as a byte, all values alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Int8, Int16, Int32, Int64, UInt8, UInt16

from sparsight.codec.bank import ESCAPE, MIDDLE
from sparsight.codec.context import (
    ONE,
    Context,
    expected,
    in_base_units,
    look_around,
    look_back,
    neighbours,
)
from sparsight.codec.rans import advance
from sparsight.codec.tables import BANK_ROW, RAW_ROW, Coder
from sparsight.codec.zones import UNTOLD


@dataclass(frozen=True, slots=True)
class ToldCells:
    """The cells of a frame that have latents, in the order in which these are coded.

    Attributes:
        near: For each, the numbers of its neighbours (`context.neighbours`).
        zones: Of each.
    """

    near: Int32[np.ndarray, "n places"]
    zones: UInt8[np.ndarray, " n"]

    @classmethod
    def of(cls, zones: UInt8[np.ndarray, "h16 w16"]) -> ToldCells:
        """Those of a frame with these zones."""
        told = zones != UNTOLD
        return cls(neighbours(told), zones[told])

    def symbols(
        self,
        latents: Int8[np.ndarray, "n k"],
        context: Context,
        starts: Int32[np.ndarray, "t s"],
    ) -> tuple[Int16[np.ndarray, " m"], Int16[np.ndarray, " m"]]:
        """What the coder has to push for their latents.

        Args:
            latents: Of each cell.
            context: Of the rate.
            starts: Of all tables.

        Returns:
            Symbols, and the table of each.
        """
        symbols, rows = np.empty((2, 2 * latents.size), np.int16)
        count = as_symbols(
            np.ascontiguousarray(latents),
            *(self.near, self.zones),
            *(context.around, context.lift, context.out, context.own),
            *(context.bias, context.units, context.inverse),
            *(starts, symbols, rows),
        )
        return symbols[:count], rows[:count]

    def pull(
        self,
        words: UInt16[np.ndarray, " w"],
        states: Int64[np.ndarray, " 2"],
        at: int,
        turn: int,
        context: Context,
        coder: Coder,
        latents: Int8[np.ndarray, "n k"],
    ) -> int:
        """Decode their latents.

        Args:
            words: Coded words.
            states: The two states; left as they are after the last symbol.
            at: Index of the next word.
            turn: Number of symbols decoded before these.
            context: Of the rate.
            coder: All tables.
            latents: Filled.

        Returns:
            Index of the next word; -1 if there were too few, or a latent is beyond a byte.
        """
        out: int = pull_latents(
            *(words, states, at, turn, coder.starts, coder.slots),
            *(self.near, self.zones),
            *(context.around, context.lift, context.out, context.own),
            *(context.bias, context.units, context.inverse),
            latents,
        )
        return out


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def remember(
    cell: int,
    channel: int,
    value: int,
    known: Int8[np.ndarray, "n known"],
    told: Int16[np.ndarray, "n known"],
    counts: Int64[np.ndarray, " n"],
) -> None:
    """Note what a cell tells those after it; see `look_around`."""
    known[cell, channel] = value
    told[cell, counts[cell]] = channel
    counts[cell] += 1


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def as_symbols(
    latents: Int8[np.ndarray, "n k"],
    near: Int32[np.ndarray, "n places"],
    zones: UInt8[np.ndarray, " n"],
    around: Int16[np.ndarray, "places known h"],
    lift: Int32[np.ndarray, "zones h"],
    out: Int16[np.ndarray, "h 2 k"],
    own: Int16[np.ndarray, "k 2 k"],
    bias: Int32[np.ndarray, "zones 2 k"],
    units: UInt8[np.ndarray, "zones k"],
    inverse: Int64[np.ndarray, "zones k"],
    starts: Int32[np.ndarray, "t s"],
    symbols: Int16[np.ndarray, " m"],
    rows: Int16[np.ndarray, " m"],
) -> int:
    """`ToldCells.symbols`, with fields of cells and context one by one; returns how many."""
    count, channels = latents.shape
    known = np.empty((count, channels + 1), np.int8)
    told, counts = np.empty((count, channels + 1), np.int16), np.zeros(count, np.int64)
    hidden, sums = np.empty(lift.shape[1], np.int32), np.empty((2, channels), np.int32)
    at = 0
    for i in range(count):
        zone = zones[i]
        hidden[:], sums[:] = lift[zone], bias[zone]
        look_around(near[i], known, told, counts, around, out, hidden, sums)
        for k in range(channels):
            latent = np.int64(latents[i, k])
            row, middle = expected(sums[0, k], sums[1, k], inverse[zone, k])
            row += BANK_ROW
            symbol = latent - middle + MIDDLE
            if symbol < 0 or symbol >= ESCAPE or starts[row, symbol] == starts[row, symbol + 1]:
                symbols[at], rows[at] = ESCAPE, row
                at += 1
                symbol, row = latent + 128, RAW_ROW
            symbols[at], rows[at] = symbol, row
            at += 1
            value = in_base_units(latent, units[zone, k])
            if value != 0:
                remember(i, k, value, known, told, counts)
                look_back(value, k, own, sums)
        remember(i, channels, ONE, known, told, counts)
    return at


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def pull_latents(
    words: UInt16[np.ndarray, " w"],
    states: Int64[np.ndarray, " 2"],
    at: int,
    turn: int,
    starts: Int32[np.ndarray, "t s"],
    slots: UInt8[np.ndarray, "t 256"],
    near: Int32[np.ndarray, "n places"],
    zones: UInt8[np.ndarray, " n"],
    around: Int16[np.ndarray, "places known h"],
    lift: Int32[np.ndarray, "zones h"],
    out: Int16[np.ndarray, "h 2 k"],
    own: Int16[np.ndarray, "k 2 k"],
    bias: Int32[np.ndarray, "zones 2 k"],
    units: UInt8[np.ndarray, "zones k"],
    inverse: Int64[np.ndarray, "zones k"],
    latents: Int8[np.ndarray, "n k"],
) -> int:
    """`ToldCells.pull`, with fields of cells, context and coder one by one."""
    count, channels = latents.shape
    known = np.empty((count, channels + 1), np.int8)
    told, counts = np.empty((count, channels + 1), np.int16), np.zeros(count, np.int64)
    hidden, sums = np.empty(lift.shape[1], np.int32), np.empty((2, channels), np.int32)
    for i in range(count):
        zone = zones[i]
        hidden[:], sums[:] = lift[zone], bias[zone]
        look_around(near[i], known, told, counts, around, out, hidden, sums)
        for k in range(channels):
            row, middle = expected(sums[0, k], sums[1, k], inverse[zone, k])
            symbol, at = advance(words, at, states, turn, starts, slots, BANK_ROW + row)
            latent = middle + symbol - MIDDLE
            turn += 1
            if symbol == ESCAPE:
                symbol, at = advance(words, at, states, turn, starts, slots, RAW_ROW)
                latent = symbol - 128
                turn += 1
            if at < 0 or latent < -128 or latent > 127:
                return -1
            latents[i, k] = latent
            value = in_base_units(latent, units[zone, k])
            if value != 0:
                remember(i, k, value, known, told, counts)
                look_back(value, k, own, sums)
        remember(i, channels, ONE, known, told, counts)
    return at
