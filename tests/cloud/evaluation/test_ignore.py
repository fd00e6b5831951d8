import numpy as np

from sparsight_cloud.evaluation.ignore import area_inside, in_ignored

from .samples import boxes


def test_half_of_a_box_is_enough_and_less_is_not() -> None:
    region = boxes((10, 0, 20, 100))
    cases = boxes((0, 0, 20, 10), (0, 0, 19, 10), (12, 3, 18, 9), (30, 0, 40, 10))
    assert in_ignored(cases, region).tolist() == [True, False, True, False]


def test_regions_count_as_one_area() -> None:
    box = boxes((0, 0, 10, 10))
    # 30 % twice at the same place stays 30 %; 30 % at either end makes 60 %.
    assert not in_ignored(box, boxes((0, 0, 3, 10), (0, 0, 3, 10)))[0]
    assert not in_ignored(box, boxes((0, 0, 3, 10), (1, 0, 4, 10)))[0]
    assert in_ignored(box, boxes((0, 0, 3, 10), (7, 0, 10, 10)))[0]
    # A cross of two bars covers 30 + 30 - 9.
    assert area_inside(box, boxes((2, 0, 5, 10), (0, 4, 10, 7))).tolist() == [51.0]


def test_area_is_exact_against_painted_pixels() -> None:
    rng = np.random.default_rng(3)

    def whole(n: int) -> np.ndarray:
        start = rng.integers(-20, 180, (n, 2))
        return np.concatenate([start, start + rng.integers(0, 90, (n, 2))], 1).astype(np.float32)

    for _ in range(20):
        some, regions = whole(40), whole(int(rng.integers(1, 9)))
        painted = np.zeros((400, 400), bool)
        for x0, y0, x1, y1 in regions.astype(int) + 50:
            painted[y0:y1, x0:x1] = True
        expected = [painted[y0:y1, x0:x1].sum() for x0, y0, x1, y1 in some.astype(int) + 50]
        assert area_inside(some, regions).tolist() == expected


def test_without_boxes_or_regions_nothing_is_ignored() -> None:
    assert in_ignored(boxes(), boxes((0, 0, 9, 9))).shape == (0,)
    assert not in_ignored(boxes((0, 0, 9, 9)), boxes()).any()
    assert not in_ignored(boxes((0, 0, 9, 9)), boxes((4, 4, 4, 9))).any()
    assert not in_ignored(boxes((5, 5, 5, 9)), boxes((0, 0, 9, 9))).any()  # an empty box is nowhere
