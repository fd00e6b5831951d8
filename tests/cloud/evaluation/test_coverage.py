import numpy as np
import pytest

from sparsight.geometry import Letterbox
from sparsight.slicer import Patches
from sparsight_cloud.evaluation.coverage import coverage, covered, frame_coverage

from .samples import boxes, picture

# A frame of 1600x1200 in an input of 800x600 (608 padded): one cell is 16 px of the frame.
LETTERBOX = Letterbox.fit((1200, 1600), 800)


def patches(*origins_yx: tuple[int, int]) -> Patches:
    return Patches(
        np.array(origins_yx, np.int32).reshape(-1, 2),
        np.ones(len(origins_yx), np.float32),
        (16, 16),
        LETTERBOX.cells_hw,
    )


def test_a_box_is_covered_by_one_patch_that_holds_more_than_half_of_it() -> None:
    # The patch covers x 256 to 512 and y 0 to 256 of the frame.
    kept = patches((0, 16))
    inside = (300, 10, 340, 50)
    just_more = (205, 10, 308, 20)  # 52 of 103 px
    just_half = (206, 10, 306, 20)
    beside = (520, 10, 540, 20)
    expected = [True, True, False, False]
    xyxy = boxes(inside, just_more, just_half, beside)
    assert covered(xyxy, kept, LETTERBOX).tolist() == expected


def test_two_patches_do_not_add_up() -> None:
    # 45 % in either of two patches that don't meet: covered by none.
    xyxy = boxes((156, 0, 356, 10))
    left, right = patches((0, 0)), patches((0, 17))
    assert not covered(xyxy, Patches(
        np.concatenate([left.origins_yx, right.origins_yx]),
        np.ones(2, np.float32), (16, 16), LETTERBOX.cells_hw,
    ), LETTERBOX)[0]  # fmt: skip
    assert covered(xyxy, patches((0, 12)), LETTERBOX)[0]


def test_nothing_kept_covers_nothing() -> None:
    assert covered(boxes((0, 0, 9, 9)), patches(), LETTERBOX).tolist() == [False]
    assert covered(boxes(), patches((0, 0)), LETTERBOX).shape == (0,)


def test_boxes_are_pooled_areas_are_averaged() -> None:
    both = picture(
        boxes((10, 10, 40, 40), (900, 900, 940, 940), (1200, 0, 1240, 40)),
        ignore_xyxy=boxes((1190, 0, 1600, 100)),
    )
    first = frame_coverage(both, patches((0, 0), (0, 8)), LETTERBOX)
    assert (first.boxes, first.covered, first.patches) == (2, 1, 2)
    grid = 76 * 100
    assert first.occupancy == pytest.approx(2 * 256 / grid)
    assert first.kept_area == pytest.approx((2 * 256 - 128) / grid)
    second = frame_coverage(picture(boxes((0, 0, 9, 9))), patches((0, 0)), LETTERBOX)
    whole = coverage([first, second, frame_coverage(picture(boxes()), patches(), LETTERBOX)])
    assert whole.bpr == pytest.approx(2 / 3)
    assert whole.occupancy == pytest.approx(3 * 256 / grid / 3)
    assert whole.kept_area == pytest.approx((3 * 256 - 128) / grid / 3)
    assert whole.patches_per_frame == pytest.approx(1.0)


def test_without_boxes_there_is_no_coverage() -> None:
    assert coverage([frame_coverage(picture(boxes()), patches((0, 0)), LETTERBOX)]).bpr is None
