"""Contexts: who stands before whom, what they tell, and that no sum can leave its 32 bits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import Bool, Int8

from sparsight.codec.bank import FRACTIONS, ROWS, SCALES
from sparsight.codec.context import (
    LOCATION_BITS,
    ONE,
    SCALE_BITS,
    SIZES,
    UNIT,
    UNITS_MAX,
    Context,
    base_units,
    expected,
    in_base_units,
    neighbours,
)
from sparsight.codec.latents import ToldCells
from sparsight.codec.tables import BANK_ROW
from sparsight.codec.zones import ZONES

from .frames import some_context, some_tables


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
@settings(max_examples=60)
def test_neighbours_are_the_kept_cells_before(union: Bool[np.ndarray, "h w"]) -> None:
    cells = [tuple(cell) for cell in np.argwhere(union).tolist()]
    near = neighbours(union)
    assert near.shape == (len(cells), 4)
    for i, (y, x) in enumerate(cells):
        around = ((y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1))
        assert near[i].tolist() == [cells.index(a) if a in cells else -1 for a in around]
        assert (near[i] < i).all()


def test_sizes_are_nearly_logarithms() -> None:
    np.testing.assert_allclose(SIZES, 16 * np.log2(1 + np.arange(128)), atol=2.2)
    assert (np.diff(SIZES) >= 0).all() and SIZES[0] == 0 and len(SIZES) == 128


def test_base_units_are_those_of_the_finest_zone() -> None:
    steps = np.array([[0.5, 3.0, 1.0], [1.0, 2.0, 1.0], [0.75, 8.0, 100.0]])
    assert base_units(steps).tolist() == [[16, 24, 16], [32, 16, 16], [24, 64, UNITS_MAX]]


def test_known_latents_come_in_base_units() -> None:
    assert in_base_units(-7, UNIT) == -7
    assert [in_base_units(x, 40) for x in (1, -1, 2, 3)] == [3, -2, 5, 8]  # halves go up
    assert (in_base_units(127, 255), in_base_units(-128, 255)) == (127, -127)


@pytest.mark.parametrize("units", [1, 16, 17, 40, 255])
@pytest.mark.parametrize("location", [-120.4, -3.3, -0.07, 0.0, 0.49, 2.2, 100.1])
def test_a_location_is_brought_to_the_zones_steps(units: int, location: float) -> None:
    inverse = int(
        replace(some_context(1), units=np.full((ZONES, 1), units, np.uint8)).inverse[0, 0]
    )
    row, middle = expected(round(location * 2**LOCATION_BITS), 5 << SCALE_BITS, inverse)
    scale, eighths = divmod(row, FRACTIONS)
    assert scale == 5
    want = np.clip(location * UNIT / units, -128, 127)
    assert middle + eighths / FRACTIONS == pytest.approx(want, abs=1 / 16 + 0.002 * abs(want))
    assert -128 <= middle <= 127


def test_scales_end_with_the_bank() -> None:
    for scale, want in ((-(2**31), 0), (0, 0), (7 << SCALE_BITS, 7), (2**31 - 1, SCALES - 1)):
        assert expected(0, scale, 1 << 14)[0] == want * FRACTIONS


def rows_of(net: Context, latents: Int8[np.ndarray, "n k"], cells: ToldCells) -> list[list[int]]:
    # With all symbols alike none escapes, so there is one row for each latent.
    starts = np.tile(np.arange(257, dtype=np.int32) * 64, (BANK_ROW + ROWS, 1))
    symbols, rows = cells.symbols(latents, net, starts)
    assert (rows >= BANK_ROW).all()
    shape = latents.shape
    out: list[list[int]] = (
        rows.reshape(shape).astype(int) * 1000 + symbols.reshape(shape)
    ).tolist()
    return out


@given(st.integers(0, 2**32), st.integers(0, 23), st.integers(0, 4))
@settings(max_examples=40)
def test_a_latent_tells_only_what_comes_after_it(seed: int, cell: int, channel: int) -> None:
    rng = np.random.default_rng(seed)
    union, net = np.ones((4, 6), np.bool_), some_context(5, seed)
    cells = ToldCells(neighbours(union), rng.integers(0, ZONES, 24).astype(np.uint8))
    latents = rng.integers(-9, 10, (24, 5)).astype(np.int8)
    before = rows_of(net, latents, cells)
    latents[cell, channel] += 40
    after = rows_of(net, latents, cells)
    y, x = divmod(cell, 6)
    for i, (was, is_now) in enumerate(zip(before, after, strict=True)):
        v, u = divmod(i, 6)
        if i == cell:
            assert was[:channel] == is_now[:channel]
            assert was[channel] != is_now[channel]  # the symbol itself
        elif (v, u) not in ((y, x + 1), (y + 1, x), (y + 1, x + 1), (y + 1, x - 1)):
            assert was == is_now


def test_the_absence_of_a_neighbour_is_told_and_zeros_tell_nothing() -> None:
    net = some_context(3, hidden=4)
    latents = np.zeros((1, 3), np.int8)
    alone = ToldCells(np.full((1, 4), -1, np.int32), np.zeros(1, np.uint8))
    silent = replace(net, lift=np.zeros_like(net.lift))
    assert rows_of(silent, latents, alone) == rows_of(
        replace(silent, out=np.zeros_like(net.out)), latents, alone
    )
    two = ToldCells(np.array([[-1] * 4, [0, -1, -1, -1]], np.int32), np.zeros(2, np.uint8))
    loud = replace(silent, around=np.full_like(net.around, 2000), out=np.full_like(net.out, 3000))
    first, second = rows_of(loud, np.zeros((2, 3), np.int8), two)
    assert ONE > 0 and first != second


def test_known_sums_are_proved_by_the_worst_latents() -> None:
    net = some_tables().contexts[0]
    reach = np.abs(net.around.astype(int)).sum((0, 1)) * 127 + np.abs(net.lift).max(0)
    room = (2**31 - 1 - reach.max()) // 127
    fits = net.around.astype(int)
    assert net.is_sound() and fits.max() < room
    beyond = replace(net, lift=np.full_like(net.lift, 2**31 - 1))
    assert not beyond.is_sound()
