import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsight.detections import Detections
from sparsight.errors import UsageError
from sparsight_cloud.detection.outputs import (
    coco_results,
    prepare_folder,
    write_picture,
    write_results,
)


def test_results_are_cocos() -> None:
    found = Detections(
        np.array([[10.126, 20, 30.5, 50.004], [0, 0, 1 / 3, 2]], np.float32),
        np.array([0.87654321, 0.5], np.float32),
        np.array([1, 0], np.int64),
    )
    assert coco_results(7, "one/a.png", found, ("car", "van")) == [
        {
            "image_id": 7,
            "file_name": "one/a.png",
            "category_id": 2,
            "category_name": "van",
            "bbox": [10.13, 20.0, 20.37, 30.0],
            "score": 0.87654,
        },
        {
            "image_id": 7,
            "file_name": "one/a.png",
            "category_id": 1,
            "category_name": "car",
            "bbox": [0.0, 0.0, 0.33, 2.0],
            "score": 0.5,
        },
    ]


def test_results_of_nothing_are_an_empty_list(tmp_path: Path) -> None:
    assert json.loads(write_results([], tmp_path).read_text()) == []


def test_results_stand_one_a_line(tmp_path: Path) -> None:
    results = [{"score": 0.5}, {"score": 0.25}]
    text = write_results(results, tmp_path).read_text()
    assert json.loads(text) == results
    assert len(text.splitlines()) == 4


def test_a_picture_keeps_its_colours(tmp_path: Path) -> None:
    picture = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    write_picture(picture, tmp_path / "deep" / "a.jpg")
    with Image.open(tmp_path / "deep" / "a.jpg") as image:
        assert image.format == "JPEG"
        np.testing.assert_allclose(np.asarray(image).astype(int), picture, atol=3)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.jpg"]


def test_a_picture_longer_than_jpeg_allows_is_made_smaller(tmp_path: Path) -> None:
    write_picture(np.zeros((4, 70_000, 3), np.uint8), tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.size == (65_000, 3)


def test_what_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file: can't be written"):
        prepare_folder(tmp_path / "file")
    with pytest.raises(UsageError, match=r"detections\.json: can't be written"):
        write_results([], tmp_path / "file")


def test_the_folder_is_made(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
