"""Answers of cells to objects of a frame."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.model.merge import CANDIDATES, merge
from sparsight.settings import DetectSettings

BOX = Letterbox.fit((128, 256), 256)
SETTINGS = DetectSettings(long_side_px=256, score_min=0.1, nms_iou=0.5)


def merged(
    boxes: list[tuple[float, float, float, float]],
    scores: list[list[float]],
    letterbox: Letterbox = BOX,
    settings: DetectSettings = SETTINGS,
) -> Detections:
    """Merge answers given as boxes in input pixels, each from a cell at its centre."""
    xyxy = torch.tensor(boxes).reshape(-1, 4)
    centres = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    distances = torch.cat([centres - xyxy[:, :2], xyxy[:, 2:] - centres], 1)
    logits: Tensor = torch.logit(torch.tensor(scores).reshape(len(boxes), -1))
    return merge(logits, distances, centres, letterbox, settings)


def test_an_object_that_cells_on_both_sides_of_a_border_see_is_reported_once_and_whole() -> None:
    # Two patches meet at x = 128; a cell of each answers for the same object.
    found = merged([(100, 20, 160, 60), (102, 21, 161, 60)], [[0.8], [0.9]])
    assert len(found) == 1
    np.testing.assert_allclose(found.xyxy, [[102, 21, 161, 60]], atol=1e-4)
    assert found.scores[0] == pytest.approx(0.9)


def test_classes_do_not_suppress_each_other() -> None:
    found = merged([(10, 10, 50, 50), (11, 10, 50, 50)], [[0.9, 0.01], [0.01, 0.8]])
    assert found.labels.tolist() == [0, 1]
    both = merged([(10, 10, 50, 50)], [[0.6, 0.7]])
    assert both.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(both.xyxy[0], both.xyxy[1])


def test_overlap_decides() -> None:
    boxes = [(10.0, 10.0, 50.0, 50.0), (30.0, 10.0, 70.0, 50.0)]  # IoU 1/3
    assert len(merged(boxes, [[0.9], [0.8]])) == 2
    strict = DetectSettings(long_side_px=256, score_min=0.1, nms_iou=0.3)
    assert len(merged(boxes, [[0.9], [0.8]], settings=strict)) == 1


def test_best_first_and_no_more_than_asked() -> None:
    boxes = [(float(x), 0.0, x + 8.0, 8.0) for x in range(0, 240, 10)]
    scores = [[0.2 + 0.7 * ((7 * i) % 24) / 24] for i in range(24)]
    found = merged(boxes, scores)
    assert len(found) == 24
    assert (np.diff(found.scores) <= 0).all()
    few = merged(boxes, scores, settings=DetectSettings(score_min=0.1, max_detections=5))
    np.testing.assert_allclose(few.scores, found.scores[:5])


def test_scores_below_the_cut_are_dropped_and_the_cut_itself_is_not() -> None:
    boxes = [(0.0, 0.0, 8.0, 8.0), (20.0, 0.0, 28.0, 8.0), (40.0, 0.0, 48.0, 8.0)]
    half = DetectSettings(score_min=0.5)
    assert len(merged(boxes, [[0.49], [0.5], [0.51]], settings=half)) == 2
    assert len(merged(boxes, [[0.49], [0.5], [0.51]], settings=DetectSettings(score_min=0.0))) == 3
    assert len(merged(boxes, [[0.49], [0.5], [0.51]], settings=DetectSettings(score_min=1.0))) == 0


def test_boxes_come_in_frame_pixels_inside_the_frame() -> None:
    letterbox = Letterbox.fit((300, 1000), 256)  # 77 rows of picture in 96 rows of input
    found = merged([(-20, 5, 60, 90), (128, 30, 300, 60)], [[0.9], [0.8]], letterbox)
    scale = 1000 / 256
    np.testing.assert_allclose(
        found.xyxy[0], [0, 5 * 300 / 77, 60 * scale, 300], rtol=1e-5, atol=1e-3
    )
    np.testing.assert_allclose(found.xyxy[1, 2], 1000, rtol=1e-6)


def test_what_lies_in_the_padding_is_no_object() -> None:
    letterbox = Letterbox.fit((300, 1000), 256)
    found = merged([(10, 80, 30, 94), (10, 10, 30, 30)], [[0.95], [0.5]], letterbox)
    assert found.scores.tolist() == pytest.approx([0.5])


def test_nothing_answered() -> None:
    empty = torch.zeros(0, 4)
    found = merge(torch.zeros(0, 3), empty, empty[:, :2], BOX, SETTINGS)
    assert len(found) == 0
    assert found.xyxy.shape == (0, 4)
    assert len(merged([(0, 0, 8, 8)], [[0.01]])) == 0


def test_of_too_many_candidates_the_best_are_kept() -> None:
    torch.manual_seed(0)
    n = CANDIDATES + 500
    logits = torch.full((n, 1), 0.0)
    logits[-1] = 3.0
    centres = torch.rand(n, 2) * torch.tensor([256.0, 128.0])
    found = merge(logits, torch.full((n, 4), 0.5), centres, BOX, SETTINGS)
    assert found.scores[0] == pytest.approx(torch.tensor(3.0).sigmoid().item())
    np.testing.assert_allclose(
        found.xyxy[0], [*(centres[-1] - 0.5), *(centres[-1] + 0.5)], atol=0.5
    )
