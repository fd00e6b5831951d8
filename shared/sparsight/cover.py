"""Targets to windows: weighted maximum coverage, best first.

A target's weight is gained in two halves: one by the window that holds it best (a box counts as
found in one patch), one by area, as windows come to lie on it (the deep layers run on the union of
all patches, so a target across two neighbours is seen whole). With the first half alone windows
overlap needlessly, with the second alone they cut targets: on the heat of a half-trained seeker the
two together need 5 % less area than either (docs/LOG.md).

    greedy choice ─> rounds in which every window may move or go ─> order by what each adds

The sum of gains is submodular, so gains only fall along the list and a budget is a cut through it.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from sparsight.geometry import ALIGN_CELLS

AREA_HALF = 0.5
"""Share of a target's weight that is gained by area."""

CONTEXT_CELLS = 1
"""Cells around a target that are worth seeing too: half of the area's part is spread over them."""

OVERLAP_DISCOUNT = 0.25
"""How much cheaper a window is, when windows move, that lies wholly on area already kept."""

TIE_DISCOUNT = 0.05
"""The same in the first, greedy choice: little more than a rule for ties."""

ROUNDS = 3
"""Rounds of moving; the second changes little, the third next to nothing."""

SLACK = 1e-6
"""Differences of gains below it are rounding."""


class _Grid(NamedTuple):
    """The candidate windows: their origins are the multiples of `ALIGN_CELLS`.

    Attributes:
        rows: Rows of candidates.
        cols: Columns of candidates.
        tall: Height of a window in aligned blocks.
        wide: Width of a window in aligned blocks.
    """

    rows: int
    cols: int
    tall: int
    wide: int


class _Table(NamedTuple):
    """What each window would gain by each target; entries of a target and of a window.

    Attributes:
        start: The entries of target i are those from start[i] to start[i + 1].
        window: Window of each entry.
        worth: Gain of each entry, above 0; area apart.
        target: Target of each entry.
        held: Entries sorted by window.
        held_start: The entries of window w are held[held_start[w] : held_start[w + 1]].
    """

    start: Int64[np.ndarray, " n1"]
    window: Int64[np.ndarray, " entries"]
    worth: Float64[np.ndarray, " entries"]
    target: Int64[np.ndarray, " entries"]
    held: Int64[np.ndarray, " entries"]
    held_start: Int64[np.ndarray, " w1"]


class _State(NamedTuple):
    """Which windows are taken and what that leaves.

    Attributes:
        taken: Whether each window is.
        best: What is gained by each target so far.
        gains: What each window would add.
        layers: How many taken windows lie on each aligned block of the grid.
        mass: What is gained by the area of each block.
        row_best: Best window of each row of candidates, -1 for none.
        row_score: Its score.
        stale: Rows of candidates in which something changed since.
    """

    taken: Bool[np.ndarray, " w"]
    best: Float64[np.ndarray, " n"]
    gains: Float64[np.ndarray, " w"]
    layers: Int64[np.ndarray, "bh bw"]
    mass: Float64[np.ndarray, "bh bw"]
    row_best: Int64[np.ndarray, " rows"]
    row_score: Float64[np.ndarray, " rows"]
    stale: Bool[np.ndarray, " rows"]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def cover(
    extents: Int64[np.ndarray, "n 4"],
    weights: Float64[np.ndarray, " n"],
    grid_hw: tuple[int, int],
    patch_hw: tuple[int, int],
    min_gain: float,
    budget: int,
) -> tuple[Int32[np.ndarray, "k 2"], Float32[np.ndarray, " k"]]:
    """Windows that cover the targets, best first.

    Args:
        extents: Targets (top, left, bottom, right) in cells, half-open, inside the grid.
        weights: Weight of each target, above 0.
        grid_hw: Height and width of the grid in cells.
        patch_hw: Height and width of a window in cells, multiples of `ALIGN_CELLS`.
        min_gain: A window that overlaps no other must gain this much, above 0.
        budget: At most this many windows.

    Returns:
        Origins (y, x) in cells, and the gain of each window over those before it.
    """
    gh, gw = grid_hw
    ph, pw = patch_hw
    grid = _Grid(
        -(-max(gh - ph, 0) // ALIGN_CELLS) + 1,
        -(-max(gw - pw, 0) // ALIGN_CELLS) + 1,
        ph // ALIGN_CELLS,
        pw // ALIGN_CELLS,
    )
    table = _table(extents, weights, grid)
    windows = grid.rows * grid.cols
    state = _State(
        np.zeros(windows, np.bool_),
        np.zeros(len(weights), np.float64),
        np.zeros(windows, np.float64),
        np.zeros((-(-gh // ALIGN_CELLS), -(-gw // ALIGN_CELLS)), np.int64),
        _mass(extents, weights, grid_hw),
        np.full(grid.rows, -1, np.int64),
        np.zeros(grid.rows, np.float64),
        np.ones(grid.rows, np.bool_),
    )
    for entry in range(len(table.window)):
        state.gains[table.window[entry]] += table.worth[entry]
    for y in range(state.mass.shape[0]):
        for x in range(state.mass.shape[1]):
            _add_area(state, grid, y, x, state.mass[y, x])
    alone = state.gains.copy()
    chosen = np.empty(windows, np.int64)
    count = _fill(table, state, grid, min_gain, chosen, 0)
    for _ in range(ROUNDS):
        kept, moved = _move(table, state, grid, min_gain, chosen, count)
        count = _fill(table, state, grid, min_gain, chosen, kept)
        if not moved and count == kept:
            break
    state.taken[:] = False
    state.best[:] = 0.0
    state.gains[:] = alone
    state.layers[:] = 0
    return _best_first(table, state, grid, np.sort(chosen[:count]), min(budget, count))  # type: ignore[no-any-return]


@numba.njit(cache=True)
def _table(extents, weights, grid):  # type: ignore[no-untyped-def]
    n = len(weights)
    align = ALIGN_CELLS
    ph, pw = grid.tall * align, grid.wide * align
    start = np.zeros(n + 1, np.int64)
    size = 0
    for i in range(n):
        tall, wide = extents[i, 2] - extents[i, 0], extents[i, 3] - extents[i, 1]
        size += ((tall + ph) // align + 1) * ((wide + pw) // align + 1)
    window, target = np.empty(size, np.int64), np.empty(size, np.int64)
    worth = np.empty(size, np.float64)
    held_start = np.zeros(grid.rows * grid.cols + 1, np.int64)
    end = 0
    for i in range(n):
        # The last row and column may start less than a window before the grid's end, or, on a grid
        # smaller than a window, be the only ones.
        r0 = max((extents[i, 0] - ph) // align + 1, 0)
        r1 = min((extents[i, 2] - 1) // align + 1, grid.rows)
        c0 = max((extents[i, 1] - pw) // align + 1, 0)
        c1 = min((extents[i, 3] - 1) // align + 1, grid.cols)
        most = 0.0
        for r in range(r0, r1):
            for c in range(c0, c1):
                share = _held_share(extents[i], r * align, c * align, ph, pw)
                if share > 0:
                    window[end], target[end], worth[end] = r * grid.cols + c, i, share
                    most = max(most, share)
                    end += 1
        for entry in range(start[i], end):
            # A target that no window can hold whole counts fully where it is held best.
            worth[entry] *= (1.0 - AREA_HALF) * weights[i] / most
            held_start[window[entry] + 1] += 1
        start[i + 1] = end
    held_start = np.cumsum(held_start)
    held = np.empty(end, np.int64)
    free = held_start[:-1].copy()
    for entry in range(end):
        held[free[window[entry]]] = entry
        free[window[entry]] += 1
    return _Table(start, window[:end], worth[:end], target[:end], held, held_start)


@numba.njit(cache=True)
def _held_share(extent, y, x, ph, pw):  # type: ignore[no-untyped-def]
    """Share of a target inside a window; 0 unless it is more than half."""
    tall = max(min(extent[2], y + ph) - max(extent[0], y), 0)
    wide = max(min(extent[3], x + pw) - max(extent[1], x), 0)
    share = tall * wide / ((extent[2] - extent[0]) * (extent[3] - extent[1]))
    return share if share > 0.5 else 0.0


@numba.njit(cache=True)
def _mass(extents, weights, grid_hw):  # type: ignore[no-untyped-def]
    """The part of the weights that is gained by area, spread over the targets and their context."""
    gh, gw = grid_hw
    align = ALIGN_CELLS
    mass = np.zeros((-(-gh // align), -(-gw // align)), np.float64)
    for i in range(len(weights)):
        for margin in (0, CONTEXT_CELLS):
            y0, x0 = max(extents[i, 0] - margin, 0), max(extents[i, 1] - margin, 0)
            y1, x1 = min(extents[i, 2] + margin, gh), min(extents[i, 3] + margin, gw)
            density = 0.5 * AREA_HALF * weights[i] / ((y1 - y0) * (x1 - x0))
            for y in range(y0 // align, -(-y1 // align)):
                tall = min(y1, (y + 1) * align) - max(y0, y * align)
                for x in range(x0 // align, -(-x1 // align)):
                    wide = min(x1, (x + 1) * align) - max(x0, x * align)
                    mass[y, x] += density * tall * wide
    return mass


@numba.njit(cache=True)
def _fill(table, state, grid, min_gain, chosen, count):  # type: ignore[no-untyped-def]
    """Take the best window until none is worth it."""
    while count < len(chosen):
        best, score = -1, -np.inf
        for r in range(grid.rows):
            if state.stale[r]:
                state.row_best[r], state.row_score[r] = _best(
                    state, grid, r, r + 1, 0, grid.cols, min_gain, TIE_DISCOUNT
                )
                state.stale[r] = False
            if state.row_score[r] > score + SLACK:
                best, score = state.row_best[r], state.row_score[r]
        if score < -SLACK:
            break
        _take(table, state, grid, best)
        chosen[count] = best
        count += 1
    return count


@numba.njit(cache=True)
def _move(table, state, grid, min_gain, chosen, count):  # type: ignore[no-untyped-def]
    """Put each window, the last first, where it is worth most, or nowhere."""
    moved = False
    for k in range(count - 1, -1, -1):
        old = chosen[k]
        _give_back(table, state, grid, old)
        here = _score(state, grid, old, min_gain, OVERLAP_DISCOUNT)
        r, c = old // grid.cols, old % grid.cols
        best, score = _best(
            state,
            grid,
            max(r - grid.tall, 0),
            min(r + grid.tall + 1, grid.rows),
            max(c - grid.wide, 0),
            min(c + grid.wide + 1, grid.cols),
            min_gain,
            OVERLAP_DISCOUNT,
        )
        if max(score, here) < -SLACK:
            chosen[k : count - 1] = chosen[k + 1 : count]
            count -= 1
            moved = True
            continue
        if score > here + SLACK:
            chosen[k] = best
            moved = True
        _take(table, state, grid, chosen[k])
    return count, moved


@numba.njit(cache=True)
def _best_first(table, state, grid, chosen, budget):  # type: ignore[no-untyped-def]
    """The chosen windows in greedy order, with their gains; equal ones in raster order."""
    origins = np.empty((budget, 2), np.int32)
    gains = np.empty(budget, np.float32)
    for k in range(budget):
        best = -1
        for window in chosen:
            if not state.taken[window] and (
                best < 0 or state.gains[window] > state.gains[best] + SLACK
            ):
                best = window
        gain = np.float32(state.gains[best])
        gains[k] = gain if k == 0 else min(gain, gains[k - 1])  # rounding must not reorder them
        origins[k, 0] = best // grid.cols * ALIGN_CELLS
        origins[k, 1] = best % grid.cols * ALIGN_CELLS
        _take(table, state, grid, best)
    return origins, gains


@numba.njit(cache=True)
def _best(state, grid, r0, r1, c0, c1, min_gain, discount):  # type: ignore[no-untyped-def]
    """The window of a range of rows and columns with the highest score, the first of equals."""
    best, high = -1, -np.inf
    for r in range(r0, r1):
        for c in range(c0, c1):
            window = r * grid.cols + c
            gain = state.gains[window]
            # Area is counted only where the gain alone could win.
            if gain > SLACK and gain - min_gain * (1.0 - discount) > high:
                score = _score(state, grid, window, min_gain, discount)
                if score > high + SLACK:
                    best, high = window, score
    return best, high


@numba.njit(cache=True)
def _score(state, grid, window, min_gain, discount):  # type: ignore[no-untyped-def]
    """What a window adds less what it costs; its share on kept area is cheaper."""
    layers = state.layers
    r, c = window // grid.cols, window % grid.cols
    fresh = 0
    for y in range(r, min(r + grid.tall, layers.shape[0])):
        for x in range(c, min(c + grid.wide, layers.shape[1])):
            if layers[y, x] == 0:
                fresh += 1
    kept = 1.0 - fresh / (grid.tall * grid.wide)
    return state.gains[window] - min_gain * (1.0 - discount * kept)


@numba.njit(cache=True)
def _take(table, state, grid, window):  # type: ignore[no-untyped-def]
    state.taken[window] = True
    _lay(state, grid, window, 1)
    for k in range(table.held_start[window], table.held_start[window + 1]):
        entry = table.held[k]
        if table.worth[entry] > state.best[table.target[entry]]:
            _set_best(table, state, grid.cols, table.target[entry], table.worth[entry])


@numba.njit(cache=True)
def _give_back(table, state, grid, window):  # type: ignore[no-untyped-def]
    state.taken[window] = False
    _lay(state, grid, window, -1)
    for k in range(table.held_start[window], table.held_start[window + 1]):
        target = table.target[table.held[k]]
        second = 0.0
        for entry in range(table.start[target], table.start[target + 1]):
            if state.taken[table.window[entry]]:
                second = max(second, table.worth[entry])
        if second < state.best[target]:
            _set_best(table, state, grid.cols, target, second)


@numba.njit(cache=True)
def _set_best(table, state, cols, target, new):  # type: ignore[no-untyped-def]
    """Note what is now gained by a target, and what is left to gain for every window."""
    old = state.best[target]
    first, last = table.start[target], table.start[target + 1]
    state.stale[table.window[first] // cols : table.window[last - 1] // cols + 1] = True
    for entry in range(first, last):
        worth = table.worth[entry]
        state.gains[table.window[entry]] += max(worth - new, 0.0) - max(worth - old, 0.0)
    state.best[target] = new


@numba.njit(cache=True)
def _lay(state, grid, window, by):  # type: ignore[no-untyped-def]
    """Lay a window on its blocks (`by` 1) or lift it (-1)."""
    layers = state.layers
    r, c = window // grid.cols, window % grid.cols
    state.stale[max(r - grid.tall + 1, 0) : r + grid.tall] = True
    for y in range(r, min(r + grid.tall, layers.shape[0])):
        for x in range(c, min(c + grid.wide, layers.shape[1])):
            layers[y, x] += by
            if layers[y, x] == (1 if by > 0 else 0):
                _add_area(state, grid, y, x, -by * state.mass[y, x])


@numba.njit(cache=True)
def _add_area(state, grid, y, x, gain):  # type: ignore[no-untyped-def]
    """Add a block's gain to every window that holds it."""
    if gain != 0.0:
        for r in range(max(y - grid.tall + 1, 0), min(y + 1, grid.rows)):
            for c in range(max(x - grid.wide + 1, 0), min(x + 1, grid.cols)):
                state.gains[r * grid.cols + c] += gain
