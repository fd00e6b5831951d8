"""VisDrone DET sets in the official layout."""

from pathlib import Path

import numpy as np
import pytest

from sparsight.errors import DataError
from sparsight_cloud.data.formats import read_dataset
from sparsight_cloud.data.reading import DatasetProblems
from sparsight_cloud.data.visdrone import CLASSES


@pytest.mark.parametrize("annotations", ["annotations", "."])
def test_what_is_judged_and_what_is_not(visdrone_set: Path, annotations: str) -> None:
    dataset = read_dataset(visdrone_set / annotations, visdrone_set / "images", "visdrone")
    assert dataset.classes == CLASSES
    assert dataset.category_ids == tuple(range(1, 11))  # the ids of the files, not 0 to 9
    first, second = dataset.images
    assert first.file_name == "0000001_02999_d_0000005.jpg"
    assert first.frame_hw == (108, 192)
    assert [CLASSES[label] for label in first.labels] == ["car", "motor"]
    assert first.xyxy.tolist() == [[40, 66, 56, 76], [100, 50, 112, 59]]
    assert first.ignore_xyxy.tolist() == [
        [68, 8, 95, 19],  # category 0
        [10, 70, 19, 79],  # category 11
        [120, 20, 128, 28],  # score 0
        [0, 90, 20, 100],  # truncation 2
    ]
    assert [CLASSES[label] for label in second.labels] == ["pedestrian"]
    assert [image.image_id for image in dataset.images] == [1, 2]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("1,2,3,4,1,12,0,0", "expected a category from 0 to 11, got 1 2 3 4 1 12 0 0"),
        ("1,2,3,4,0.87,4,-1,-1", "a file of detections is no ground truth"),
        ("1,2,3,4,1,4,3,0", "expected a truncation of 0, 1 or 2"),
        ("1,2,3,4,1,4,0,-1", "expected an occlusion of 0, 1 or 2"),
        ("1,2,3,4,1,4,0", "expected 8 numbers (left, top, width, height, score, category"),
        ("1,2,3,4,1,4,0,0,9", "expected 8 numbers"),
        ("1 2 3 4 1 4 0 0", "expected 8 numbers"),
        ("1,2,3,four,1,4,0,0", "got '1,2,3,four,1,4,0,0'"),
        ("1,2,3,0,1,4,0,0", "expected a box with a width and a height, got x 1 to 4, y 2 to 2"),
        ("300,2,9,9,1,4,0,0", "at least half inside its 192x108 picture"),
    ],
)
def test_a_bad_line_is_named(visdrone_set: Path, line: str, what: str) -> None:
    path = visdrone_set / "annotations/0000364_01765_d_0000782.txt"
    path.write_text(f"1,2,3,4,1,1,0,1\n{line}\n")
    with pytest.raises(DatasetProblems) as caught:
        read_dataset(visdrone_set, visdrone_set / "images", "visdrone")
    [problem] = caught.value.problems
    assert problem.where == f"{path}:2"
    assert what in problem.what


def test_boxes_without_a_size_can_be_left_out(visdrone_set: Path) -> None:
    """The official training set has a car of no height, and two ignored regions."""
    path = visdrone_set / "annotations/0000364_01765_d_0000782.txt"
    path.write_text("1,2,3,4,1,1,0,1\n61,15,9,0,1,4,0,0\n100,37,9,0,0,0,0,0\n")
    with pytest.raises(DatasetProblems, match=r":2: expected a box with"):
        read_dataset(visdrone_set, visdrone_set / "images", "visdrone")
    dataset = read_dataset(visdrone_set, visdrone_set / "images", "visdrone", drop_bad_boxes=True)
    assert len(dataset.images[1].labels) == 1
    assert len(dataset.images[1].ignore_xyxy) == 0


def test_a_missing_and_an_empty_file(visdrone_set: Path) -> None:
    missing = visdrone_set / "annotations/0000001_02999_d_0000005.txt"
    empty = visdrone_set / "annotations/0000364_01765_d_0000782.txt"
    missing.unlink()
    empty.write_text("")
    with pytest.raises(DatasetProblems) as caught:
        read_dataset(visdrone_set, visdrone_set / "images", "visdrone")
    assert {str(missing), str(empty)} <= {problem.where for problem in caught.value.problems}
    dataset = read_dataset(visdrone_set, visdrone_set / "images", "visdrone", allow_empty=True)
    assert dataset.boxes == 0
    np.testing.assert_array_equal([len(i.ignore_xyxy) for i in dataset.images], [0, 0])


def test_labels_without_a_picture(visdrone_set: Path) -> None:
    (visdrone_set / "images/0000001_02999_d_0000005.jpg").unlink()
    with pytest.raises(DatasetProblems) as caught:
        read_dataset(visdrone_set, visdrone_set / "images", "visdrone")
    [problem] = caught.value.problems
    assert problem.where.endswith("0000001_02999_d_0000005.txt")
    assert "expected a picture of that name" in problem.what


def test_no_such_folders(visdrone_set: Path) -> None:
    with pytest.raises(DataError, match="expected the folder of the label files"):
        read_dataset(visdrone_set / "nowhere", visdrone_set / "images", "visdrone")
    file = visdrone_set / "images/0000001_02999_d_0000005.jpg"
    with pytest.raises(DataError, match="expected the folder of the pictures, found a file"):
        read_dataset(visdrone_set, file, "visdrone")
