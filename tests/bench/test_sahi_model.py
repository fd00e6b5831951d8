from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from jaxtyping import UInt8

from sparsight.detections import Detections
from sparsight.model.detector import Detector
from sparsight.settings import DetectSettings

pytest.importorskip("sahi", reason="`make bench` installs SAHI, `make setup` doesn't")

from bench.sahi_model import SlicedModel, detect_sliced


@dataclass
class FakeResult:
    detections: Detections
    gflops: float
    times_ms: dict[str, float]


class RedFinder:
    """Finds the red pixels of a picture as one box, and notes how it was run."""

    classes = ("car", "van")
    device = "cpu"

    def __init__(self) -> None:
        self.long_sides_px: list[int] = []

    def detect(
        self, frames: Sequence[UInt8[np.ndarray, "h w 3"]], settings: DetectSettings
    ) -> list[FakeResult]:
        assert settings.mode == "dense"
        self.long_sides_px.append(settings.long_side_px)
        y, x = np.nonzero(frames[0][..., 0])
        found = Detections.empty()
        if len(x):
            xyxy = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32)
            found = Detections(xyxy, np.array([0.9], np.float32), np.array([1], np.int64))
        return [FakeResult(found, 2.0, {"stem": 3.0})]


def sliced(frame: UInt8[np.ndarray, "h w 3"], **options: Any) -> tuple[Any, RedFinder]:
    finder = RedFinder()
    model = SlicedModel(cast("Detector", finder), DetectSettings(long_side_px=1536))
    return detect_sliced(model, frame, **options), finder


def frame_with(*boxes_xyxy: tuple[int, int, int, int]) -> UInt8[np.ndarray, "h w 3"]:
    frame = np.zeros((800, 1024, 3), np.uint8)
    for x0, y0, x1, y1 in boxes_xyxy:
        frame[y0:y1, x0:x1, 0] = 255
    return frame


def test_an_object_in_many_slices_is_reported_once_in_frame_pixels() -> None:
    got, _ = sliced(frame_with((500, 300, 540, 330)))
    np.testing.assert_array_equal(got.detections.xyxy, [[500, 300, 540, 330]])
    assert got.detections.labels.tolist() == [1]


def test_every_run_is_accounted_for() -> None:
    got, _ = sliced(frame_with())
    assert got.runs == 5  # two slices by two, and the whole frame
    assert got.gflops == 10 and got.times_ms == {"stem": 15.0}
    assert len(got.detections) == 0


def test_slices_run_at_the_scale_of_the_whole_frame() -> None:
    _, finder = sliced(frame_with())
    assert finder.long_sides_px == [960] * 4 + [1536]


def test_or_pixel_by_pixel() -> None:
    _, finder = sliced(frame_with(), native=True)
    assert finder.long_sides_px == [640] * 4 + [1024]
