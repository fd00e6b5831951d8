import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from sparsight.errors import UsageError
from sparsight.geometry import Letterbox, area, intersection, share_inside

sides = st.integers(1, 5000)


@hypothesis.given(sides, sides, st.integers(64, 2048))
def test_a_letterbox_holds_its_frame(h: int, w: int, long_side: int) -> None:
    box = Letterbox.fit((h, w), long_side)
    assert max(box.scaled_hw) == long_side
    assert min(box.scaled_hw) >= 1
    for scaled, padded in zip(box.scaled_hw, box.input_hw, strict=True):
        assert padded % 32 == 0
        assert scaled <= padded < scaled + 32
    assert box.cells_hw == (box.input_hw[0] // 8, box.input_hw[1] // 8)


@hypothesis.given(sides, sides, st.integers(64, 2048), st.integers(0, 10**6))
def test_boxes_go_to_the_input_and_back(h: int, w: int, long_side: int, seed: int) -> None:
    box = Letterbox.fit((h, w), long_side)
    corners = np.random.default_rng(seed).uniform(0, 1, (5, 2, 2))
    corners.sort(1)
    xyxy = (corners * [w, h]).reshape(5, 4)
    inside = box.to_input(xyxy)
    assert (inside[:, 2] <= box.scaled_hw[1] + 1e-6).all()
    assert (inside[:, 3] <= box.scaled_hw[0] + 1e-6).all()
    np.testing.assert_allclose(box.to_frame(inside), xyxy, atol=1e-6)


def test_a_4k_frame() -> None:
    box = Letterbox.fit((2160, 3840), 1536)
    assert (box.scaled_hw, box.input_hw, box.cells_hw) == ((864, 1536), (864, 1536), (108, 192))
    assert box.scale_xy == (0.4, 0.4)
    assert Letterbox.fit((3840, 2160), 1536).input_hw == (1536, 864)
    assert Letterbox.fit((765, 1360), 1536).input_hw == (864, 1536)


def test_boxes_are_clipped_to_the_frame_and_the_argument_stays() -> None:
    box = Letterbox.fit((100, 200), 400)
    xyxy = np.array([[-10, 20, 500, 300]], np.float32)
    out = box.to_frame(xyxy)
    np.testing.assert_array_equal(out, [[0, 10, 200, 100]])
    assert out.dtype == np.float32
    np.testing.assert_array_equal(xyxy, [[-10, 20, 500, 300]])


@pytest.mark.parametrize(("hw", "side"), [((0, 5), 64), ((5, 0), 64), ((5, 5), 0)])
def test_a_frame_without_pixels_is_refused(hw: tuple[int, int], side: int) -> None:
    with pytest.raises(UsageError, match="at least 1x1 px"):
        Letterbox.fit(hw, side)


def test_areas_and_shares() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 9], [8, 8, 2, 2]], np.float32)
    b = np.array([[0, 0, 5, 10], [20, 20, 30, 30], [-5, -5, 15, 15]], np.float32)
    np.testing.assert_array_equal(area(a), [100, 0, 0])
    np.testing.assert_array_equal(intersection(a, b)[0], [50, 0, 100])
    want = np.array([[0.5, 0, 1], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(share_inside(a, b), want)
    assert intersection(a[:0], b).shape == (0, 3)
    assert share_inside(a, b[:0]).shape == (3, 0)
