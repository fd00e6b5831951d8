"""What went wrong in a picture, and the curves beside it."""

from pathlib import Path

import numpy as np
import pytest

from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.slicer import Patches
from sparsight_cloud.data.dataset import Dataset, LabelledImage
from sparsight_cloud.evaluation.coco_ap import average_precision, precision_curves
from sparsight_cloud.evaluation.coverage import frame_coverage
from sparsight_cloud.evaluation.faults import faults, worst
from sparsight_cloud.evaluation.run import JudgedFrame

BOXES = np.array([[0, 0, 20, 20], [100, 100, 120, 120], [300, 300, 320, 320]], np.float32)


def a_frame(
    found: Detections, ignored: list[list[float]] | None = None, name: str = "a.png"
) -> JudgedFrame:
    image = LabelledImage(
        path=Path(name),
        file_name=name,
        image_id=0,
        frame_hw=(512, 512),
        xyxy=BOXES,
        labels=np.array([0, 0, 1]),
        ignore_xyxy=np.array(ignored or [], np.float32).reshape(-1, 4),
    )
    box = Letterbox.fit((512, 512), 512)
    patches = Patches(np.array([[0, 0]], np.int32), np.ones(1, np.float32), (16, 16), (64, 64))
    cover = frame_coverage(image, patches, box)
    return JudgedFrame(image, found, patches, box, cover, 1.0, 2.0, 3.0, {}, None)


def some(*rows: tuple[float, float, int]) -> Detections:
    """Detections as left edge of a box on the diagonal, score and class."""
    xyxy = np.array([[x, x, x + 20, x + 20] for x, _, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows], np.float32)
    return Detections(xyxy, scores, np.array([label for _, _, label in rows], np.int64))


def test_found_missed_and_made_up() -> None:
    # Right; the same once more; of another class; too faint.
    one = faults(a_frame(some((1, 0.9, 0), (0, 0.8, 0), (300, 0.7, 0), (100, 0.1, 0))), 0.25)
    assert one.shown.tolist() == [True, True, True, False]
    assert one.false.tolist() == [False, True, True, False]
    assert one.missed.tolist() == [False, True, True]
    assert one.unseen.tolist() == [False, False, True]  # patches reach to 128 px
    assert one.count == 4


def test_ignored_regions_hold_no_faults() -> None:
    one = faults(a_frame(some((300, 0.9, 0)), [[290, 290, 330, 330]]), 0.25)
    assert not one.shown.any()
    assert one.missed.tolist() == [True, True, False]
    assert not one.unseen.any()


def test_the_worst_come_first_and_the_faultless_not_at_all() -> None:
    right = some((0, 0.9, 0), (100, 0.9, 0), (300, 0.9, 1))
    frames = [
        a_frame(right, name="right"),
        a_frame(some((0, 0.9, 0)), name="two"),
        a_frame(some(), name="three"),
    ]
    assert [one.frame.image.file_name for one in worst(frames, 0.25, 5)] == ["three", "two"]
    assert len(worst(frames, 0.25, 1)) == 1


def test_curves_have_the_area_that_is_ap50() -> None:
    found = some((1, 0.9, 0), (200, 0.8, 0), (100, 0.7, 0))
    frame = a_frame(found)
    dataset = Dataset((frame.image,), ("car", "bus", "ship"), (1, 2, 3))
    curves = precision_curves(dataset, [found])
    assert set(curves) == {"car", "bus"}
    told = average_precision(dataset, [found]).per_class
    assert [float(curves[one.name].mean()) for one in told] == pytest.approx(
        [one.ap50 for one in told]
    )
    assert curves["car"][0] == 1.0
    assert curves["bus"].max() == 0.0
