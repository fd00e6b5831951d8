"""Which kept cells are worth the head, cell by cell, each told by those around it.

    NW N NE
     W  x        context = 1*W + 2*N + 4*NW + 8*NE, of the marks already known; 0 outside

Marks come in blobs: with these four neighbours one costs a quarter of a bit. Cells are coded row by
row, only those inside the union of patches.
"""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt8, UInt16

from sparsight.codec.rans import advance

CONTEXTS = 16


def contexts(marks: Bool[np.ndarray, "h w"]) -> Int64[np.ndarray, "h w"]:
    """The context of every cell."""
    around = np.zeros((marks.shape[0] + 1, marks.shape[1] + 2), np.int64)
    around[1:, 1:-1] = marks
    west, north = around[1:, :-2], around[:-1, 1:-1]
    out: Int64[np.ndarray, "h w"] = west + 2 * north + 4 * around[:-1, :-2] + 8 * around[:-1, 2:]
    return out


def count_marks(
    marks: Bool[np.ndarray, "h w"], union: Bool[np.ndarray, "h w"]
) -> Int64[np.ndarray, "contexts 2"]:
    """How often a cell of the union is unmarked and marked in each context.

    Args:
        marks: Marked cells, none outside the union.
        union: Cells under a patch.
    """
    index = contexts(marks)[union] * 2 + marks[union]
    return np.bincount(index, minlength=2 * CONTEXTS).reshape(CONTEXTS, 2)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def pull_marks(
    words: UInt16[np.ndarray, " w"],
    states: Int64[np.ndarray, " 2"],
    at: int,
    turn: int,
    union: Bool[np.ndarray, "h w"],
    starts: Int32[np.ndarray, "t s"],
    slots: UInt8[np.ndarray, "t 256"],
    marks: Bool[np.ndarray, "h w"],
) -> int:
    """Decode the marks of a union; see `rans.advance`.

    Args:
        words: Coded words.
        states: The two states; left as they are after the last mark.
        at: Index of the next word.
        turn: Number of symbols decoded before these.
        union: Cells to decode.
        starts: Sums of frequencies before each symbol; the tables of marks come first.
        slots: Symbol of every 64th slot.
        marks: Filled there; what it holds elsewhere tells of those, too.

    Returns:
        Index of the next word; -1 if there were too few.
    """
    height, width = union.shape
    for y in range(height):
        for x in range(width):
            if not union[y, x]:
                continue
            context = 0
            if x > 0 and marks[y, x - 1]:
                context += 1
            if y > 0:
                if marks[y - 1, x]:
                    context += 2
                if x > 0 and marks[y - 1, x - 1]:
                    context += 4
                if x + 1 < width and marks[y - 1, x + 1]:
                    context += 8
            symbol, at = advance(words, at, states, turn, starts, slots, context)
            if at < 0:
                return -1
            marks[y, x] = symbol == 1
            turn += 1
    return at
