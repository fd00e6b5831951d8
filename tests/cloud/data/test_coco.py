"""COCO files: what is read, what is refused and how it is told, what is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from sparsight.errors import DataError
from sparsight_cloud.data.coco import read_coco, scan_coco, write_coco
from sparsight_cloud.data.reading import DatasetProblems, Reading

Raw = dict[str, Any]


def reread(path: Path, raw: object, images: Path) -> DatasetProblems:
    """The problems of a file with another content."""
    path.write_text(json.dumps(raw))
    with pytest.raises(DatasetProblems) as caught:
        read_coco(path, images)
    return caught.value


def test_boxes_regions_and_ids(coco_set: tuple[Path, Path]) -> None:
    dataset = read_coco(*coco_set)
    assert dataset.classes == ("car", "bus")  # by rising id
    assert dataset.category_ids == (4, 9)
    assert [image.image_id for image in dataset.images] == [7, 3]  # in the order of the file
    first, second = dataset.images
    assert first.xyxy.tolist() == [[10, 20, 40, 60], [60, 10, 64, 16]]
    assert first.labels.tolist() == [1, 0]
    assert sorted(first.ignore_xyxy.tolist()) == [[1, 2, 4, 6], [5, 6, 12, 14], [100, 50, 130, 70]]
    assert second.xyxy.tolist() == [[0.5, 0.25, 12.625, 8.25]]
    assert second.path.is_file()
    assert second.frame_hw == (90, 160)
    assert second.ignore_xyxy.shape == (0, 4)


def test_images_without_boxes_are_listed(coco_set: tuple[Path, Path], coco_raw: Raw) -> None:
    path, images = coco_set
    coco_raw["annotations"] = coco_raw["annotations"][:1]
    path.write_text(json.dumps(coco_raw))
    assert [len(image.labels) for image in read_coco(path, images).images] == [1, 0]


def test_a_file_without_any_box_is_refused_unless_allowed(
    coco_set: tuple[Path, Path], coco_raw: Raw
) -> None:
    path, images = coco_set
    error = reread(path, coco_raw | {"annotations": []}, images)
    assert "annotations.json: expected boxes, found none in 2 pictures" in str(error)
    assert read_coco(path, images, allow_empty=True).boxes == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't read the annotations"),
        ("", "is empty"),
        ("  \n", "is empty"),
        ("{", "no valid JSON"),
        ('[{"image_id": 1, "score": 0.5}]', "got a list; a list of detections is no data set"),
        ('{"images": [], "annotations": []}', "'categories' is missing"),
        ('{"images": 3, "annotations": [], "categories": []}', "'images' is no list of objects"),
        ('{"images": [1], "annotations": [], "categories": []}', "'images' is no list of objects"),
    ],
)
def test_what_is_no_coco_file(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "ann.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"ann\.json") as caught:
        read_coco(path, tmp_path)
    assert message in str(caught.value)


def test_no_folder_of_pictures(coco_set: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="nowhere: expected the folder of the pictures"):
        read_coco(coco_set[0], coco_set[1] / "nowhere")


def _image(raw: Raw, **changes: object) -> None:
    raw["images"][1] |= changes
    if "id" in changes:
        del raw["annotations"][1]  # it would be of no image


def _box(raw: Raw, **changes: object) -> None:
    raw["annotations"][1] |= changes


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        (lambda r: _image(r, id="x7"), 'images, id "x7"', 'expected an integer id, got "x7"'),
        (lambda r: _image(r, id=7), "images, id 7", "expected an id of its own, got 7 again"),
        (lambda r: _image(r, file_name="b.jpg"), "images, id 3", "each picture once, got 'b.jpg'"),
        (lambda r: _image(r, file_name="../b.jpg"), "images, id 3", "inside the folder"),
        (lambda r: _image(r, file_name="/etc/a.jpg"), "images, id 3", "inside the folder"),
        (lambda r: _image(r, file_name=None), "images, id 3", "got null"),
        (lambda r: _image(r, file_name="c.jpg"), "images/c.jpg", "there is no such file"),
        (lambda r: _image(r, width=0), "images, id 3", "width and height in pixels, got 0 and 90"),
        (lambda r: _image(r, height="tall"), "images, id 3", 'got 160 and "tall"'),
        (lambda r: _image(r, ignore_regions=[[1, 2, 3]]), "ignore_regions[0] of sub/a.jpg", "four"),
        (lambda r: _image(r, ignore_regions={"a": 1}), "images, id 3", "a list of ignore_regions"),
        (lambda r: _image(r, ignore_regions=[[170, 0, 9, 9]]), "ignore_regions[0]", "0 % inside"),
        (lambda r: _box(r, image_id=99), "annotations, id 2", "a listed image, got image_id 99"),
        (lambda r: _box(r, category_id=5), "annotations, id 2", "category ids [4, 9], got 5"),
        (lambda r: _box(r, bbox=[1, 2, 3]), "annotations, id 2", "four numbers [x, y, w, h]"),
        (lambda r: _box(r, bbox=[1, 2, 3, "4"]), "annotations, id 2", 'got [1, 2, 3, "4"]'),
        (lambda r: _box(r, bbox=None), "annotations, id 2", "got null"),
        (lambda r: r["annotations"][1].pop("id"), "", ""),
        (lambda r: _box(r, bbox=[5, 5, 0, 3]), "(sub/a.jpg)", "with a width and a height"),
        (lambda r: _box(r, bbox=[5, 5, 3, -3]), "(sub/a.jpg)", "with a width and a height"),
        (lambda r: _box(r, bbox=[5, 5, float("nan"), 3]), "(sub/a.jpg)", "width and a height"),
        (lambda r: _box(r, bbox=[155, 5, 20, 5]), "(sub/a.jpg)", "(25 % inside)"),
        (lambda r: _box(r, bbox=[900, 5, 20, 5]), "(sub/a.jpg)", "its 160x90 picture, got x 900"),
        (lambda r: r["categories"].append({"id": 4, "name": "x"}), "categories, id 4", "again"),
        (lambda r: r["categories"].append({"id": 5, "name": "bus"}), "categories, id 5", "again"),
        (lambda r: r["categories"].append({"id": 5}), "categories, id 5", "id and a name"),
    ],
)
def test_each_problem_is_told(
    coco_set: tuple[Path, Path],
    coco_raw: Raw,
    change: Callable[[Raw], object],
    where: str,
    what: str,
) -> None:
    path, images = coco_set
    change(coco_raw)
    path.write_text(json.dumps(coco_raw))
    if not where:
        read_coco(path, images)
        return
    error = reread(path, coco_raw, images)
    assert error.count == 1, error
    assert error.exit_code == 3
    assert where in error.problems[0].where
    assert what in error.problems[0].what


def test_a_small_overhang_is_clipped(coco_set: tuple[Path, Path], coco_raw: Raw) -> None:
    path, images = coco_set
    _box(coco_raw, bbox=[-2, 85, 10, 7])
    _image(coco_raw, ignore_regions=[[150, 80, 100, 100], [3, 3, 0, 9]])
    path.write_text(json.dumps(coco_raw))
    image = read_coco(path, images).images[1]
    assert image.xyxy.tolist() == [[0, 85, 8, 90]]
    assert image.ignore_xyxy.tolist() == [[150, 80, 160, 90]]  # one without a size hides nothing


def test_the_first_twenty_problems_and_how_many(coco_set: tuple[Path, Path], coco_raw: Raw) -> None:
    path, images = coco_set
    coco_raw["annotations"] += [
        {"id": 100 + i, "image_id": 7, "category_id": 77, "bbox": [1, 2, 3, 4]} for i in range(35)
    ]
    error = reread(path, coco_raw, images)
    assert str(error).splitlines()[0] == f"{path}: 35 problems, the first 20:"
    assert len(str(error).splitlines()) == 21
    assert (error.count, len(error.problems)) == (35, 35)


def test_bad_boxes_can_be_left_out_and_nothing_else(
    coco_set: tuple[Path, Path], coco_raw: Raw
) -> None:
    path, images = coco_set
    _box(coco_raw, bbox=[500, 5, 20, 5])
    _image(coco_raw, file_name="c.jpg")
    path.write_text(json.dumps(coco_raw))
    reading = Reading(drop_bad_boxes=True)
    dataset = scan_coco(path, images, reading)
    reading.conclude(path, dataset)
    assert [problem.where for problem in reading.problems] == [str(images / "c.jpg")]
    assert dataset.boxes == 2
    assert "1 bad boxes left out, the first:" in reading.notes[0]
    assert "annotations, id 2" in reading.notes[0]


def test_pictures_are_held_against_the_file(
    coco_set: tuple[Path, Path], make_picture: Callable[..., Path]
) -> None:
    path, images = coco_set
    make_picture(images / "b.jpg", (90, 160), orientation=6)  # seen upright it is 90 wide
    (images / "sub/a.jpg").write_bytes(b"no picture")
    reading = Reading(check_pictures=True)
    scan_coco(path, images, reading)
    first, second = reading.problems
    assert first.where == str(images / "b.jpg")
    assert (
        first.what == "expected 160x90 as annotated, the picture has 90x160; its EXIF data turn it"
    )
    assert second.where == str(images / "sub/a.jpg")
    assert "header can't be read" in second.what


def test_what_is_written_is_read_again(coco_set: tuple[Path, Path], tmp_path: Path) -> None:
    path, images = coco_set
    dataset = read_coco(path, images)
    out = tmp_path / "new" / "out.json"
    write_coco(dataset, out)
    assert [file.name for file in out.parent.iterdir()] == ["out.json"]
    again = read_coco(out, images)
    assert (again.classes, again.category_ids) == (dataset.classes, dataset.category_ids)
    for a, b in zip(again.images, dataset.images, strict=True):
        assert (a.file_name, a.image_id, a.frame_hw) == (b.file_name, b.image_id, b.frame_hw)
        np.testing.assert_array_equal(a.xyxy, b.xyxy)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.ignore_xyxy, b.ignore_xyxy)


def test_pycocotools_reads_what_is_written(coco_set: tuple[Path, Path], tmp_path: Path) -> None:
    write_coco(read_coco(*coco_set), tmp_path / "out.json")
    theirs = COCO(str(tmp_path / "out.json"))
    assert sorted(theirs.getImgIds()) == [3, 7]
    assert sorted(theirs.getCatIds()) == [4, 9]
    found = {
        tuple(a["bbox"]): (a["category_id"], a["area"]) for a in theirs.loadAnns(theirs.getAnnIds())
    }
    assert found == {
        (10, 20, 30, 40): (9, 1200),
        (60, 10, 4, 6): (4, 24),
        (0.5, 0.25, 12.125, 8): (4, 97),
    }
