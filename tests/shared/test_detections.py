import dataclasses

import numpy as np
import pytest

from sparsight.detections import Detections

SOME = Detections(
    np.array([[0, 0, 4, 4], [2, 2, 9, 9], [5, 5, 6, 6]], np.float32),
    np.array([0.9, 0.5, 0.1], np.float32),
    np.array([2, 0, 2]),
)


def test_none() -> None:
    none = Detections.empty()
    assert len(none) == 0
    assert none.xyxy.shape == (0, 4)
    assert len(none.above(0.0)) == 0
    assert len(none.of_classes(np.array([0]))) == 0


def test_above_keeps_the_score_itself() -> None:
    kept = SOME.above(0.5)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.5])
    np.testing.assert_array_equal(kept.xyxy, SOME.xyxy[:2])
    assert len(SOME.above(1.0)) == 0


def test_of_classes() -> None:
    kept = SOME.of_classes(np.array([2, 7]))
    assert kept.labels.tolist() == [2, 2]
    np.testing.assert_array_equal(kept.xyxy, SOME.xyxy[[0, 2]])
    assert len(SOME.of_classes(np.zeros(0, np.int64))) == 0


def test_a_value_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SOME.scores = np.zeros(3, np.float32)  # type: ignore[misc]
