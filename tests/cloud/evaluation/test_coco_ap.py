import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sparsight.detections import Detections
from sparsight.errors import UsageError
from sparsight_cloud.data.coco import read_coco
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.coco_ap import ApReport, average_precision

from .samples import boxes, dataset_of, found, jittered, labels, picture

REPOSITORY = Path(__file__).parents[3]
DATA = Path(os.environ.get("SPARSIGHT_DATA", REPOSITORY.parent / "shared" / "data"))
REAL = (DATA / "visdrone" / "val.json", REPOSITORY / "samples" / "munich" / "annotations.json")
FIGURES = ("ap", "ap50", "ap75", "ap_tiny", "ap_small", "ap_medium", "ap_large", "ar500")


def by_pycocotools(dataset: Dataset, detections: Sequence[Detections]) -> dict[str, float | None]:
    """The same figures by the reference, with ignored regions painted pixel by pixel."""
    truth: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for i, (image, one) in enumerate(zip(dataset.images, detections, strict=True), start=1):
        grey = np.zeros(image.frame_hw, bool)
        for x0, y0, x1, y1 in image.ignore_xyxy.astype(int):
            grey[y0:y1, x0:x1] = True

        def judged(xyxy: np.ndarray, grey: np.ndarray = grey) -> bool:
            x0, y0, x1, y1 = np.maximum(xyxy, 0).astype(int)
            whole = (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1])
            return bool(grey[y0:y1, x0:x1].sum() < 0.5 * whole)

        def plain(xyxy: np.ndarray) -> list[float]:
            x0, y0, x1, y1 = map(float, xyxy)
            return [x0, y0, x1 - x0, y1 - y0]

        truth += [
            {"image_id": i, "category_id": int(k) + 1, "bbox": plain(xyxy), "iscrowd": 0}
            for xyxy, k in zip(image.xyxy, image.labels, strict=True)
            if judged(xyxy)
        ]
        results += [
            {"image_id": i, "category_id": int(k) + 1, "bbox": plain(xyxy), "score": float(s)}
            for xyxy, k, s in zip(one.xyxy, one.labels, one.scores, strict=True)
            if judged(xyxy)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1} for i in range(len(dataset.images))],
            "categories": [{"id": k + 1} for k in range(len(dataset.classes))],
            "annotations": [
                {**a, "id": i, "area": a["bbox"][2] * a["bbox"][3]} for i, a in enumerate(truth, 1)
            ],
        }
        coco.createIndex()
        coco.dataset["info"] = {}
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        judge.params.maxDets = [1, 10, 100, 500]
        judge.params.areaRng = [
            [0, 1e10], [0, 16**2], [0, 32**2], [32**2, 96**2], [96**2, 1e10],
        ]  # fmt: skip
        judge.params.areaRngLbl = ["all", "tiny", "small", "medium", "large"]
        judge.evaluate()
        judge.accumulate()
    p, r = judge.eval["precision"], judge.eval["recall"]

    def mean(values: np.ndarray) -> float | None:
        return float(values[values > -1].mean()) if (values > -1).any() else None

    out = {
        "ap": mean(p[..., 0, -1]),
        "ap50": mean(p[0, ..., 0, -1]),
        "ap75": mean(p[5, ..., 0, -1]),
        "ap_tiny": mean(p[..., 1, -1]),
        "ap_small": mean(p[..., 2, -1]),
        "ap_medium": mean(p[..., 3, -1]),
        "ap_large": mean(p[..., 4, -1]),
        "ar500": mean(r[..., 0, -1]),
    }
    for k, name in enumerate(dataset.classes):
        if mean(p[..., k, 0, -1]) is not None:
            out[f"ap of {name}"] = mean(p[..., k, 0, -1])
            out[f"ap50 of {name}"] = mean(p[0, :, k, 0, -1])
    return out


def figures(report: ApReport) -> dict[str, float | None]:
    out: dict[str, float | None] = {name: getattr(report, name) for name in FIGURES}
    for one in report.per_class:
        out[f"ap of {one.name}"] = one.ap
        out[f"ap50 of {one.name}"] = one.ap50
    return out


def random_dataset(rng: np.random.Generator, images: int, per_image: int) -> Dataset:
    def one() -> tuple[np.ndarray, np.ndarray]:
        n = int(rng.integers(0, per_image))
        side = np.exp(rng.uniform(np.log(3), np.log(200), (n, 2)))
        start = rng.uniform(0, 1, (n, 2)) * (800, 600)
        return np.concatenate([start, start + side], 1).astype(np.float32), rng.integers(0, 4, n)

    return dataset_of(
        *(picture(*one()) for _ in range(images)), classes=("a", "b", "c", "d", "never seen")
    )


@pytest.mark.parametrize("seed", range(4))
def test_same_numbers_as_pycocotools_on_random_boxes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dataset = random_dataset(rng, images=12, per_image=60)
    detections = jittered(dataset, rng)
    reference = by_pycocotools(dataset, detections)
    assert figures(average_precision(dataset, detections)) == pytest.approx(reference, abs=1e-6)
    assert reference["ap"] is not None
    assert 0.1 < reference["ap"] < 0.9
    assert "ap of never seen" not in reference


@pytest.mark.parametrize("file", REAL, ids=["visdrone", "munich"])
def test_same_numbers_as_pycocotools_on_real_boxes(file: Path) -> None:
    if not file.is_file():
        pytest.skip(f"{file.name} of {file.parent.name} is not here (SPARSIGHT_DATA)")
    pictures = file.parent / "images"
    dataset = read_coco(file, pictures if pictures.is_dir() else file.parent)
    dataset = replace(dataset, images=dataset.images[::2])
    detections = jittered(dataset, np.random.default_rng(7), whole_px=True)
    report = average_precision(dataset, detections)
    assert figures(report) == pytest.approx(by_pycocotools(dataset, detections), abs=1e-6)
    assert (report.boxes_ignored > 0) == any(len(i.ignore_xyxy) for i in dataset.images)


def test_five_hundred_detections_are_judged_and_no_more() -> None:
    # 600 labelled boxes, each found exactly: 500 count, so recall is 5/6 (100 would give 1/6).
    x, y = np.meshgrid(np.arange(30) * 20, np.arange(20) * 20)
    start = np.stack([x.ravel(), y.ravel()], 1)
    xyxy = np.concatenate([start, start + 10], 1).astype(np.float32)
    report = average_precision(
        dataset_of(picture(xyxy)), [found(xyxy, np.linspace(0.9, 0.1, 600).tolist())]
    )
    assert report.ar500 == pytest.approx(500 / 600)


def test_sizes_are_areas_of_boxes_in_the_original_picture() -> None:
    # The tiny and the large box are found, the small and the medium one are not.
    xyxy = boxes((0, 0, 15, 15), (100, 0, 130, 30), (200, 0, 250, 50), (300, 0, 420, 120))
    report = average_precision(
        dataset_of(picture(xyxy, frame_hw=(2250, 4000))), [found(xyxy[[0, 3]], [0.9, 0.8])]
    )
    assert (report.ap_tiny, report.ap_medium, report.ap_large) == (1.0, 0.0, 1.0)
    assert report.ap_small == pytest.approx(51 / 101)  # tiny ones are small, too: one of two


def test_classes_without_boxes_do_not_count() -> None:
    one = boxes((0, 0, 20, 20))
    dataset = dataset_of(picture(one, labels(1)), classes=("bus", "car"))
    detections = [found(np.concatenate([one, one]), [0.9, 0.8], labels(1, 0))]
    report = average_precision(dataset, detections)
    assert report.ap == 1.0
    assert [(c.name, c.boxes, c.ap50) for c in report.per_class] == [("car", 1, 1.0)]


def test_what_lies_in_ignored_regions_is_not_judged() -> None:
    # Half of the second box lies in the region; without the rule it would be missed and the
    # detection on it, of a better score than the true one, false.
    xyxy = boxes((0, 0, 20, 20), (100, 0, 120, 20))
    region = boxes((110, 0, 200, 200))
    shown = found(boxes((102, 0, 122, 20), (0, 0, 20, 20)), [0.9, 0.5])
    with_rule = average_precision(dataset_of(picture(xyxy, ignore_xyxy=region)), [shown])
    without = average_precision(dataset_of(picture(xyxy)), [shown])
    assert with_rule.ap == 1.0
    assert without.ap is not None
    assert without.ap < 1.0
    assert (with_rule.boxes_judged, with_rule.boxes_ignored, with_rule.detections_ignored) == (
        1,
        1,
        1,
    )


def test_nothing_to_judge_is_none_and_nothing_found_is_zero() -> None:
    empty = average_precision(dataset_of(picture(boxes())), [found(boxes((0, 0, 9, 9)), [0.9])])
    assert all(getattr(empty, name) is None for name in FIGURES)
    assert empty.per_class == ()
    missed = average_precision(dataset_of(picture(boxes((0, 0, 9, 9)))), [Detections.empty()])
    assert (missed.ap, missed.ar500, missed.ap_tiny, missed.ap_large) == (0.0, 0.0, 0.0, None)


def test_detections_must_belong_to_the_data_set() -> None:
    dataset = dataset_of(picture(boxes((0, 0, 9, 9)), labels(0)))
    with pytest.raises(UsageError, match=r"expected detections of 1 pictures.*got 0"):
        average_precision(dataset, [])
    with pytest.raises(UsageError, match=r"frame\.png: detections of class 3"):
        average_precision(dataset, [found(boxes((0, 0, 9, 9)), [0.5], labels(3))])
    with pytest.raises(UsageError, match="not finite"):
        average_precision(dataset, [found(boxes((0, 0, 9, 9)), [float("nan")])])
