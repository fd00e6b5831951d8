import numpy as np
import pytest

from sparsight_cloud.training.labels import BORDER, draw_heat, random_kept_area


def xyxy(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_heat_is_one_at_the_centre_and_half_at_the_border() -> None:
    # 48x48 px, centred in cell (4, 4): columns 1 to 7 reach into it.
    heat, _ = draw_heat(xyxy((12, 12, 60, 60)), (9, 9))
    assert heat[4, 4] == 1
    # A cell's value is the largest inside it; the edge of column 2 is 36 - 24 = 12 px away of 24.
    assert heat[4, 2] == pytest.approx(0.5 ** (12 / 24) ** 2)
    assert heat[4, 1] == pytest.approx(0.5 ** (20 / 24) ** 2)
    # The corners of the box lie outside the inscribed ellipse.
    assert heat[1, 1] == 0
    assert heat[heat > 0].min() >= BORDER
    exact, _ = draw_heat(xyxy((8, 8, 24, 24)), (5, 5))
    assert exact[2, 3] == pytest.approx(BORDER)  # touches the border at its middle, and no further
    assert exact[2, 4] == 0


def test_box_smaller_than_a_cell_marks_it_and_overlaps_take_the_maximum() -> None:
    heat, weight = draw_heat(xyxy((19, 19, 21, 21)), (4, 4))
    assert heat[2, 2] == 1
    assert heat.sum() == 1
    assert weight[2, 2] == pytest.approx(1 + np.log(1600 / 4))
    assert weight[0, 0] == 1
    one, _ = draw_heat(xyxy((0, 0, 40, 40)), (8, 8))
    other, _ = draw_heat(xyxy((24, 8, 64, 48)), (8, 8))
    both, _ = draw_heat(xyxy((0, 0, 40, 40), (24, 8, 64, 48)), (8, 8))
    np.testing.assert_array_equal(both, np.maximum(one, other))


def test_boxes_beyond_the_crop_and_none_at_all() -> None:
    heat, _ = draw_heat(xyxy((-20, -20, 12, 12), (58, 58, 74, 74)), (8, 8))
    assert heat[0, 0] > 0.5
    assert heat[7, 7] > 0
    assert not draw_heat(xyxy(), (4, 8))[0].any()


@pytest.mark.parametrize("patch_cells", [8, 12, 16, 64])
def test_random_kept_area_covers_objects_in_blocks_of_four(patch_cells: int) -> None:
    rng = np.random.default_rng(patch_cells)
    hot = missed = 0
    for _ in range(60):
        corners = rng.uniform(0, 200, (6, 2))
        sizes = rng.uniform(3, 40, (6, 2))
        boxes = np.concatenate([corners, corners + sizes], 1).astype(np.float32)
        heat, _ = draw_heat(boxes, (28, 32))
        keep = random_kept_area(heat, patch_cells, 0.3, rng)
        blocks = keep.reshape(7, 4, 8, 4)
        assert (blocks.all((1, 3)) == blocks.any((1, 3))).all()
        tiles = heat.reshape(7, 4, 8, 4).max((1, 3)) >= BORDER
        hot += int(tiles.sum())
        missed += int((tiles & ~blocks.any((1, 3))).sum())
    assert missed / hot < 0.04  # one in thirty-three is missed on purpose, neighbours cover some


def test_random_kept_area_differs_and_may_be_empty() -> None:
    heat = np.zeros((32, 32), np.float32)
    rng = np.random.default_rng(0)
    assert not random_kept_area(heat, 16, 0.0, rng).any()
    heat[16, 16] = 1
    areas = {random_kept_area(heat, 16, 0.0, rng).tobytes() for _ in range(40)}
    assert len(areas) > 8  # of the sixteen offsets
