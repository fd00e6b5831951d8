import numpy as np
import pytest

from sparsight.errors import DataError, UsageError
from sparsight_cloud.evaluation.classes import match_classes, parse_mapping
from sparsight_cloud.evaluation.coco_ap import average_precision

from .samples import boxes, dataset_of, found, labels, picture

BUNDLE = ("pedestrian", "car", "van", "Awning-Tricycle")
DATA = ("awning tricycle", "truck", "Car")


def test_names_match_apart_from_case_and_joints() -> None:
    match = match_classes(BUNDLE, DATA)
    assert match.to_dataset.tolist() == [-1, 2, -1, 0]
    assert match.judged.tolist() == [0, 2]


def test_a_mapping_goes_before_names_and_can_drop() -> None:
    match = match_classes(BUNDLE, DATA, {"Van": "car", "car": "truck", "awning-tricycle": ""})
    assert match.to_dataset.tolist() == [-1, 1, 2, -1]
    assert match.judged.tolist() == [1, 2]


def test_detections_and_boxes_without_partner_are_dropped_on_both_sides() -> None:
    match = match_classes(BUNDLE, DATA, {"van": "car"})
    xyxy = boxes((0, 0, 20, 20), (50, 0, 90, 20), (200, 0, 230, 30))
    dataset = dataset_of(picture(xyxy, labels(2, 1, 2)), classes=DATA)
    # The truck is not found, for the bundle has no such class; a pedestrian is, and a van.
    shown = found(xyxy[[1, 0, 2]], [0.9, 0.8, 0.7], labels(0, 1, 2))
    kept = match.detections(shown)
    assert kept.labels.tolist() == [2, 2]
    assert kept.scores.tolist() == pytest.approx([0.8, 0.7])
    assert np.array_equal(kept.xyxy, xyxy[[0, 2]])
    judged = match.dataset(dataset)
    assert judged.classes == DATA
    assert judged.images[0].labels.tolist() == [2, 2]
    report = average_precision(judged, [kept])
    assert (report.ap, report.boxes_judged) == (1.0, 2)
    assert [one.name for one in report.per_class] == ["Car"]


def test_without_a_common_class_both_lists_are_shown() -> None:
    with pytest.raises(DataError, match=r"no class in common.*ship, plane.*awning tricycle, truck"):
        match_classes(("ship", "plane"), DATA)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [({"lorry": "truck"}, "bundle has no class 'lorry'"), ({"van": "bus"}, "has no class 'bus'")],
)
def test_a_mapping_of_unknown_classes_is_refused(mapping: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_classes(BUNDLE, DATA, mapping)


def test_a_mapping_is_written_with_equals_signs() -> None:
    assert parse_mapping(["van=car", " awning-tricycle = ", "bus=a=b"]) == {
        "van": "car",
        "awning-tricycle": "",
        "bus": "a=b",
    }
    for wrong in (["van"], ["=car"], ["van=car", "van=bus"]):
        with pytest.raises(UsageError, match="such as van=car"):
            parse_mapping(wrong)
