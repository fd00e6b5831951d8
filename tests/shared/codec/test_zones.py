"""Zones: as a loop over cells finds them; and what is cut of a frame is in the steps of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Bool, UInt8

from sparsight.codec.cut import cut_frame
from sparsight.codec.zones import HALO, HALO_MAX, REACHES, UNTOLD, ZONES, told, zones_of
from sparsight.slicer import Patches

from .frames import blobs


def naive(
    marks: Bool[np.ndarray, "gh gw"], union: Bool[np.ndarray, "gh gw"], halo: int
) -> UInt8[np.ndarray, "h16 w16"]:
    """Of each cell, the first zone whose reach has a marked cell in it; the halo field by field."""
    marked = np.argwhere(marks) // 2
    out = np.full((marks.shape[0] // 2, marks.shape[1] // 2), UNTOLD, np.uint8)
    for y, x in np.argwhere(union[::2, ::2]):
        far = min((max(abs(y - v), abs(x - u)) for v, u in marked), default=99)
        out[y, x] = min((z for z in (0, 1) if far <= REACHES[z]), default=2)
    for y, x in np.argwhere(~union[::4, ::4]):
        around = np.s_[max(0, 4 * y - 4) : 4 * y + 8, max(0, 4 * x - 4) : 4 * x + 8]
        if halo and union[around].any() and marks[around].sum() >= halo:
            out[2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = HALO
    return out


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
    st.sampled_from([0, 1, 2, 8, 30, HALO_MAX]),
    st.integers(0, 2**32),
)
def test_they_are_those_of_a_loop(
    fields: tuple[int, int], kept: float, share: float, halo: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    union = (rng.random(fields) < kept).repeat(4, 0).repeat(4, 1)
    marks = (rng.random(union.shape) < share) & union
    before = marks.copy()
    zones = zones_of(marks, union, halo)
    np.testing.assert_array_equal(zones, naive(marks, union, halo), strict=True)
    np.testing.assert_array_equal(marks, before)
    seen = told(zones)
    np.testing.assert_array_equal(seen[::2, ::2], zones != UNTOLD)
    assert seen.shape == union.shape and (seen >= union).all()
    assert halo or (seen == union).all()


def test_one_mark_has_a_ring_around_it() -> None:
    union = np.zeros((32, 32), np.bool_)
    union[8:24, 8:24] = True
    marks = np.zeros_like(union)
    zones = zones_of(marks, union, 1)
    assert set(zones.ravel().tolist()) == {2, UNTOLD}
    marks[17, 9] = True  # in cell (8, 4) of the latents, beside the patch's edge
    zones = zones_of(marks, union, 1)
    assert (zones == 0).sum() == 1 and zones[8, 4] == 0
    assert (zones <= 1).sum() == 6 and (zones[7:10, 4:6] <= 1).all()
    assert (zones == HALO).sum() == 3 * 4 and (zones[6:12, 2:4] == HALO).all()
    assert (zones_of(marks, union, 2) == HALO).sum() == 0


def some_patches(*origins_yx: tuple[int, int], grid_hw: tuple[int, int]) -> Patches:
    at = np.array(origins_yx, np.int32).reshape(-1, 2)
    return Patches(at, np.zeros(len(at), np.float32), (12, 12), grid_hw)


@pytest.mark.parametrize("halo", [0, 1])
def test_each_cell_is_cut_in_the_steps_of_its_zone(halo: int) -> None:
    rng = np.random.default_rng(0)
    grid_hw = (32, 48)
    latents = rng.integers(-128, 128, (ZONES, 5, 16, 24)).astype(np.int8)
    marks = blobs(*grid_hw, seed=1) & (rng.random(grid_hw) < 0.04)
    patches = some_patches((0, 0), (8, 8), (20, 40), grid_hw=grid_hw)
    frame = cut_frame(latents, patches, marks, 1, halo)

    union = patches.union()
    np.testing.assert_array_equal(frame.union(), union)
    np.testing.assert_array_equal(frame.marks, marks & union)
    assert marks[~union].any()
    zones = naive(marks & union, union, halo)  # marks outside are not sent: they count for nothing
    np.testing.assert_array_equal(frame.zones(), zones)
    cells = np.argwhere(zones != UNTOLD)
    assert frame.latents.shape == (5, len(cells))
    for got, (y, x) in zip(frame.latents.T, cells, strict=True):
        np.testing.assert_array_equal(got, latents[zones[y, x], :, y, x])
    assert set(zones.ravel().tolist()) == {0, 1, 2, UNTOLD} | ({HALO} if halo else set())


def test_nothing_is_cut_of_a_frame_without_patches() -> None:
    latents = np.ones((ZONES, 5, 4, 6), np.int8)
    frame = cut_frame(latents, some_patches(grid_hw=(8, 12)), np.ones((8, 12), bool), 0, 1)
    assert frame.latents.shape == (5, 0) and not frame.marks.any()
