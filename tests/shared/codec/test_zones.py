"""Zones: as a loop over cells finds them; and what is cut of a frame is in the steps of its own."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Bool, UInt8

from sparsight.codec.cut import cut_frame
from sparsight.codec.zones import REACHES, ZONES, zones_of, zones_of_kept
from sparsight.slicer import Patches

from .frames import blobs


def naive(marks: Bool[np.ndarray, "gh gw"]) -> UInt8[np.ndarray, "h16 w16"]:
    """Of each cell, the first zone whose reach has a marked cell in it."""
    marked = np.argwhere(marks) // 2
    out = np.full((marks.shape[0] // 2, marks.shape[1] // 2), ZONES - 1, np.uint8)
    for y, x in np.ndindex(*out.shape):
        far = min((max(abs(y - v), abs(x - u)) for v, u in marked), default=99)
        for zone in reversed(range(ZONES - 1)):
            if far <= REACHES[zone]:
                out[y, x] = zone
    return out


@given(
    st.tuples(st.integers(1, 10), st.integers(1, 10)),
    st.sampled_from([0.0, 0.005, 0.02, 0.1, 1.0]),
    st.integers(0, 2**32),
)
def test_they_are_those_of_a_loop(hw: tuple[int, int], share: float, seed: int) -> None:
    marks = np.random.default_rng(seed).random((2 * hw[0], 2 * hw[1])) < share
    before = marks.copy()
    zones = zones_of(marks)
    np.testing.assert_array_equal(zones, naive(marks), strict=True)
    np.testing.assert_array_equal(marks, before)


def test_one_mark_has_a_ring_around_it() -> None:
    marks = np.zeros((20, 20), np.bool_)
    marks[9, 8] = True  # in cell (4, 4) of the latents
    zones = zones_of(marks)
    assert (zones == 0).sum() == 1 and zones[4, 4] == 0
    assert (zones <= 1).sum() == 9 and (zones[3:6, 3:6] <= 1).all()
    assert (zones_of(np.zeros((20, 20), np.bool_)) == ZONES - 1).all()


def some_patches(*origins_yx: tuple[int, int], grid_hw: tuple[int, int]) -> Patches:
    at = np.array(origins_yx, np.int32).reshape(-1, 2)
    return Patches(at, np.zeros(len(at), np.float32), (12, 12), grid_hw)


def test_each_cell_is_cut_in_the_steps_of_its_zone() -> None:
    rng = np.random.default_rng(0)
    grid_hw = (32, 48)
    latents = rng.integers(-128, 128, (ZONES, 5, 16, 24)).astype(np.int8)
    marks = blobs(*grid_hw, seed=1) & (rng.random(grid_hw) < 0.04)
    patches = some_patches((0, 0), (8, 8), (20, 40), grid_hw=grid_hw)
    frame = cut_frame(latents, patches, marks, 1)

    union = patches.union()
    np.testing.assert_array_equal(frame.union(), union)
    np.testing.assert_array_equal(frame.marks, marks & union)
    assert marks[~union].any()
    zones = naive(marks & union)  # marks outside are not sent, so they count for nothing
    cells = np.argwhere(union[::2, ::2])
    assert frame.latents.shape == (5, len(cells))
    for got, (y, x) in zip(frame.latents.T, cells, strict=True):
        np.testing.assert_array_equal(got, latents[zones[y, x], :, y, x])
    kept = zones_of_kept(frame.marks, union)
    np.testing.assert_array_equal(kept, [zones[y, x] for y, x in cells])
    assert set(kept.tolist()) == {0, 1, 2}


def test_nothing_is_cut_of_a_frame_without_patches() -> None:
    latents = np.ones((ZONES, 5, 4, 6), np.int8)
    frame = cut_frame(latents, some_patches(grid_hw=(8, 12)), np.ones((8, 12), bool), 0)
    assert frame.latents.shape == (5, 0) and not frame.marks.any()
