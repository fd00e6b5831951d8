"""TinyPerson's files: the flags, the dense pictures, and the corners put back together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sparsight.errors import DataError
from sparsight_cloud.data.corners import join_views
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.data.formats import read_dataset, scan_dataset
from sparsight_cloud.data.reading import DatasetProblems, Reading

Raw = dict[str, Any]


def test_one_class_and_what_is_not_judged(tinyperson_set: tuple[Path, Path]) -> None:
    reading = Reading()
    dataset = scan_dataset(*tinyperson_set, "tinyperson", reading)
    assert not reading.problems
    assert (dataset.classes, dataset.category_ids) == (("person",), (1,))
    [image] = dataset.images  # the dense one is left out
    assert image.file_name == "labeled_images/a.jpg"
    assert image.labels.tolist() == [0, 0]  # sea_person and earth_person
    assert image.xyxy.tolist() == [[10.5, 20, 13, 26], [30, 40, 33, 45]]
    assert image.ignore_xyxy.tolist() == [
        [108.25, 17.5, 120.75, 22.5],
        [50, 40, 54, 45],
        [70, 40, 74, 45],
    ]
    assert reading.notes[0].startswith("1 dense pictures left out")


def test_an_unknown_category_is_named(
    tinyperson_set: tuple[Path, Path], tinyperson_raw: Raw
) -> None:
    path, images = tinyperson_set
    tinyperson_raw["annotations"][1]["category_id"] = 3
    path.write_text(json.dumps(tinyperson_raw))
    with pytest.raises(DatasetProblems) as caught:
        read_dataset(path, images, "tinyperson")
    [problem] = caught.value.problems
    assert problem.where == f"{path}: annotations, id 1"
    assert problem.what == "expected one of the category ids [1, 2], got 3"


def test_a_missing_picture_is_named(tinyperson_set: tuple[Path, Path]) -> None:
    path, images = tinyperson_set
    (images / "labeled_images/a.jpg").unlink()
    with pytest.raises(DatasetProblems, match=r"a\.jpg: expected the picture that is listed"):
        read_dataset(path, images, "tinyperson")


def windows_of(wh: tuple[int, int], size_wh: tuple[int, int], overlap: int) -> list[list[int]]:
    """Windows as TinyBenchmark lays them: the last ones moved back to the border."""
    starts = []
    for length, size in zip(wh, size_wh, strict=True):
        last = max(length - size, 0)
        starts.append(sorted({min(s, last) for s in range(0, length, size - overlap)}))
    return [
        [x, y, min(x + size_wh[0], wh[0]), min(y + size_wh[1], wh[1])]
        for y in starts[1]
        for x in starts[0]
    ]


def cut(raw: Raw, size_wh: tuple[int, int], overlap: int, least: float = 0.3) -> Raw:
    """A corner file of a plain one; pieces below 0.3 of a box are dropped, as officially."""
    images: list[Raw] = []
    annotations: list[Raw] = []
    for image in raw["images"]:
        for x1, y1, x2, y2 in windows_of((image["width"], image["height"]), size_wh, overlap):
            about = {"id": len(images), "corner": [x1, y1, x2, y2]}
            images.append(image | about | {"width": x2 - x1, "height": y2 - y1})
            for a in raw["annotations"]:
                if a["image_id"] != image["id"]:
                    continue
                x, y, w, h = a["bbox"]
                left, top = max(x, x1), max(y, y1)
                right, bottom = min(x + w, x2), min(y + h, y2)
                if right <= left or bottom <= top:
                    continue
                share = (right - left) * (bottom - top) / (w * h)
                if share < least and not a["ignore"]:
                    continue
                bbox = [left - x1, top - y1, right - left, bottom - top]
                piece = {"id": len(annotations), "image_id": about["id"], "bbox": bbox}
                annotations.append(a | piece)
    return raw | {"images": images, "annotations": annotations}


def by_place(dataset: Dataset) -> list[list[list[float]]]:
    return [
        sorted(np.round(boxes, 3).tolist())
        for image in dataset.images
        for boxes in (image.xyxy, image.ignore_xyxy)
    ]


def test_corners_become_whole_pictures(
    tinyperson_set: tuple[Path, Path], tinyperson_raw: Raw
) -> None:
    path, images = tinyperson_set
    plain = read_dataset(path, images, "tinyperson")
    corners = cut(tinyperson_raw, (64, 51), 10)
    assert len(corners["images"]) == 2 * 6
    assert len(corners["annotations"]) > len(tinyperson_raw["annotations"])
    path.write_text(json.dumps(corners))
    whole = read_dataset(path, images, "tinyperson")
    assert by_place(whole) == by_place(plain)
    assert whole.images[0].frame_hw == (90, 160)  # of the picture, not of a window


def test_corners_as_the_document_writes_them(
    tinyperson_set: tuple[Path, Path], tinyperson_raw: Raw
) -> None:
    path, images = tinyperson_set
    plain = read_dataset(path, images, "tinyperson")
    corners = cut(tinyperson_raw, (64, 51), 10)
    for image in corners["images"]:
        x1, y1, x2, y2 = image["corner"]
        image["corner"] = [x1, y1, x2 - x1, y2 - y1]
    path.write_text(json.dumps(corners))
    assert by_place(read_dataset(path, images, "tinyperson")) == by_place(plain)


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        (lambda r: r["images"][0].update(corner=[0, 0, 9, 9]), "images, id 0", "of 64x51 px"),
        (lambda r: r["images"][0].update(corner=None), "images, id 0", "got 0 and null"),
        (lambda r: r["annotations"][2].update(image_id=99), "annotations, id 2", "a listed image"),
        (lambda r: r["annotations"][2].update(bbox=[1]), "annotations, id 2", "bbox [x, y, w, h]"),
    ],
)
def test_bad_corners_are_named(
    tinyperson_set: tuple[Path, Path],
    tinyperson_raw: Raw,
    change: Callable[[Raw], object],
    where: str,
    what: str,
) -> None:
    path, images = tinyperson_set
    corners = cut(tinyperson_raw, (64, 51), 10)
    change(corners)
    path.write_text(json.dumps(corners))
    with pytest.raises(DatasetProblems) as caught:
        read_dataset(path, images, "tinyperson")
    assert where in caught.value.problems[0].where
    assert what in caught.value.problems[0].what


def test_no_folder(tinyperson_set: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="folder of the pictures"):
        read_dataset(tinyperson_set[0], tinyperson_set[1] / "x", "tinyperson")


@settings(max_examples=60, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(
            st.integers(0, 1190), st.integers(0, 660), st.integers(2, 90), st.integers(2, 60)
        ),
        min_size=1,
        max_size=6,
    ),
    flags=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_views_are_joined_to_what_was_cut(
    boxes: list[tuple[int, int, int, int]], flags: list[bool]
) -> None:
    """1280x720 in windows of 640x512 with 50 px of overlap, as the official files have it."""
    whole = np.array([(x + 0.3, y + 0.7, x + w, y + h) for x, y, w, h in boxes], np.float64)
    whole = np.clip(whole, 0, [1280, 720, 1280, 720])
    # Pieces of two boxes that share an edge can't be told apart in an overlap.
    apart = np.abs(whole[:, None] - whole[None, :]).min(axis=2) + 9 * np.eye(len(whole))
    assume(bool((apart > 1).all()))
    pieces, windows, of = [], [], []
    for window in windows_of((1280, 720), (640, 512), 50):
        low, high = np.maximum(whole[:, :2], window[:2]), np.minimum(whole[:, 2:], window[2:])
        for i in np.flatnonzero((high > low).all(axis=1)):
            pieces.append([*low[i], *high[i]])
            windows.append(window)
            of.append(i)
    kinds = np.array(flags, np.int64)[of]
    joined, first = join_views(np.array(pieces, np.float64), np.array(windows, np.float64), kinds)
    assert sorted(of[i] for i in first) == list(range(len(whole)))
    np.testing.assert_allclose(joined, whole[[of[i] for i in first]], atol=1e-6)


def test_doubles_of_one_window_stay_two() -> None:
    boxes = np.array([[10.0, 10, 14, 20]] * 2)
    windows = np.array([[0.0, 0, 640, 512]] * 2)
    assert len(join_views(boxes, windows, np.zeros(2, np.int64))[0]) == 2


def test_no_boxes_are_no_boxes() -> None:
    none = np.zeros((0, 4))
    joined, first = join_views(none, none, np.zeros(0, np.int64))
    assert joined.shape == (0, 4)
    assert len(first) == 0
