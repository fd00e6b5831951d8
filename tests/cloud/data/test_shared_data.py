"""The real sets beside the repository, where there are any."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsight_cloud.data.coco import scan_coco, write_coco
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.data.formats import read_dataset
from sparsight_cloud.data.reading import Reading
from sparsight_cloud.data.summary import summarise
from sparsight_cloud.data.visdrone import CLASSES
from sparsight_cloud.data.yolo import write_yolo

REPOSITORY = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("SPARSIGHT_DATA", REPOSITORY.parent / "shared" / "data"))


def read(name: str) -> Dataset:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not here (SPARSIGHT_DATA)")
    reading = Reading(check_pictures=True)
    dataset = scan_coco(path, path.parent / "images", reading)
    reading.conclude(path, dataset)
    assert not reading.problems
    return dataset


@pytest.mark.parametrize(
    ("name", "images", "boxes", "regions"),
    [("visdrone/train.json", 386, 24883, 937), ("visdrone/val.json", 89, 8060, 143)],
)
def test_visdrone(name: str, images: int, boxes: int, regions: int) -> None:
    figures = summarise(dataset := read(name))
    assert (figures.images, figures.boxes, figures.ignore_regions) == (images, boxes, regions)
    assert dataset.classes == CLASSES
    assert figures.doubled_boxes == 0


def test_munich() -> None:
    assert read("munich/annotations.json").boxes == 2084


def test_visdrone_there_and_back(tmp_path: Path) -> None:
    whole = read("visdrone/val.json")
    dataset = replace(whole, images=whole.images[::4])
    write_yolo(dataset, tmp_path / "yolo")
    again = read_dataset(tmp_path / "yolo", tmp_path / "yolo" / "images", "yolo")
    write_coco(again, tmp_path / "again.json")
    again = read_dataset(tmp_path / "again.json", dataset.images[0].path.parent, "coco")
    assert (again.classes, again.category_ids) == (dataset.classes, dataset.category_ids)
    for a, b in zip(again.images, dataset.images, strict=True):
        assert (a.file_name, a.frame_hw) == (b.file_name, b.frame_hw)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_allclose(a.xyxy, b.xyxy, rtol=0, atol=0.01)
        np.testing.assert_allclose(a.ignore_xyxy, b.ignore_xyxy, rtol=0, atol=0.01)
