from typing import Any

import pytest
from pydantic import ValidationError

from sparsight.errors import UsageError
from sparsight.settings import DetectSettings, ModelSettings


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"long_side_px": 0}, "long_side_px: expected 64 to 16384 pixels, got 0"),
        ({"long_side_px": 100000}, "long_side_px"),
        ({"mark": 1.5}, "mark: expected a share from 0 to 1, got 1.5"),
        ({"score_min": -0.1}, "score_min"),
        ({"nms_iou": float("nan")}, "nms_iou"),
        ({"max_detections": -1}, "max_detections: expected 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        DetectSettings(**change)


def test_a_model_needs_classes_and_known_keys() -> None:
    with pytest.raises(ValidationError, match="classes"):
        ModelSettings(classes=())
    with pytest.raises(ValidationError, match="multiple of 8"):
        ModelSettings(classes=("a",), neck_channels=20)
    with pytest.raises(ValidationError, match="std"):
        ModelSettings(classes=("a",), std=(0.0, 0.5, 0.5))
    with pytest.raises(ValidationError, match="colour"):
        ModelSettings.model_validate({"classes": ["a"], "colour": "red"})
