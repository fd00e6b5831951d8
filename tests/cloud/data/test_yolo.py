"""YOLO sets: the layouts people have, what is refused, and the way there and back."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparsight.errors import DataError
from sparsight_cloud.data.choices import Placing
from sparsight_cloud.data.class_names import read_names
from sparsight_cloud.data.coco import read_coco, write_coco
from sparsight_cloud.data.dataset import Dataset, LabelledImage
from sparsight_cloud.data.formats import read_dataset
from sparsight_cloud.data.reading import DatasetProblems
from sparsight_cloud.data.yolo import write_yolo


def problems(annotations: Path, images: Path, **allowed: bool) -> list[tuple[str, str]]:
    with pytest.raises(DatasetProblems) as caught:
        read_dataset(annotations, images, "yolo", **allowed)
    return [(problem.where, problem.what) for problem in caught.value.problems]


@pytest.mark.parametrize("annotations", ["data.yaml", "labels/train", "."])
def test_the_layouts_people_have(yolo_set: Path, annotations: str) -> None:
    dataset = read_dataset(yolo_set / annotations, yolo_set / "images" / "train", "yolo")
    assert dataset.classes == ("car", "truck")
    assert dataset.category_ids == (1, 2)
    a, b = dataset.images
    assert (a.file_name, a.image_id, a.frame_hw) == ("a.jpg", 1, (100, 200))
    expected = np.array([[90, 40, 110, 60], [15, 17.5, 25, 22.5]])
    np.testing.assert_allclose(a.xyxy, expected, atol=1e-4)
    assert a.labels.tolist() == [1, 0]
    np.testing.assert_allclose(a.ignore_xyxy, [[140, 80, 180, 100]], atol=1e-4)
    assert b.file_name == "b.png"
    assert b.ignore_xyxy.shape == (0, 4)


def test_labels_beside_the_pictures(tmp_path: Path, yolo_set: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    (yolo_set / "images/train/a.jpg").rename(flat / "a.jpg")
    (yolo_set / "labels/train/a.txt").rename(flat / "a.txt")
    (flat / "classes.txt").write_text("car\ntruck\n")  # is not taken for a label file
    assert read_dataset(flat, flat, "yolo").boxes == 2


def test_a_turned_picture_is_measured_upright(yolo_set: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (200, 100)).save(yolo_set / "images/train/a.jpg", exif=exif)
    assert read_dataset(yolo_set, yolo_set / "images/train", "yolo").images[0].frame_hw == (
        200,
        100,
    )


@pytest.mark.parametrize(
    ("label", "line", "what"),
    [
        (
            "1 0.5 0.5 0.1\n",
            1,
            "expected 5 numbers (class, centre x, centre y, width, height), got",
        ),
        ("0 .5 .5 .1 .1\n1 0.5 0.5 x 0.1\n", 2, "got '1 0.5 0.5 x 0.1'"),
        ("\n0 0.1 0.1 0.2 0.1 0.2 0.2\n", 2, "expected 5 numbers"),  # a polygon
        ("2 0.5 0.5 0.1 0.1\n", 1, "expected a class from 0 to 1, got 2"),
        ("-1 0.5 0.5 0.1 0.1\n", 1, "expected a class from 0 to 1, got -1"),
        ("0.5 0.5 0.5 0.1 0.1\n", 1, "expected a class from 0 to 1, got 0.5"),
        ("0 100 50 20 20\n", 1, "(are these pixels?), got 0 100 50 20 20"),
        ("0 nan 0.5 0.1 0.1\n", 1, "shares of the picture's size"),
        ("0 1.2 0.5 0.1 0.1\n", 1, "inside its 200x100 picture"),
        ("0 0.5 0.5 0 0.1\n", 1, "with a width and a height"),
    ],
)
def test_a_bad_line_is_named(yolo_set: Path, label: str, line: int, what: str) -> None:
    path = yolo_set / "labels/train/b.txt"
    path.write_text(label)
    [(where, told)] = problems(yolo_set, yolo_set / "images/train")
    assert where == f"{path}:{line}"
    assert what in told


def test_missing_and_empty_labels_are_named_together(yolo_set: Path) -> None:
    images = yolo_set / "images/train"
    missing, empty = yolo_set / "labels/train/a.txt", yolo_set / "labels/train/b.txt"
    missing.unlink()
    (yolo_set / "ignore/train/a.txt").unlink()
    empty.write_text("\n")
    told = dict(problems(yolo_set, images))
    assert "there is no such file; if the picture has no objects" in told[str(missing)]
    assert "the file is empty" in told[str(empty)]
    assert "(--allow-empty)" in told[str(missing)]
    dataset = read_dataset(yolo_set, images, "yolo", allow_empty=True)
    assert [len(image.labels) for image in dataset.images] == [0, 0]


def test_no_label_file_at_all_is_never_allowed(yolo_set: Path) -> None:
    for path in (yolo_set / "labels/train").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="found none; wrong folder"):
        read_dataset(yolo_set, yolo_set / "images/train", "yolo", allow_empty=True)


def test_strays_and_shared_names(yolo_set: Path) -> None:
    (yolo_set / "labels/train/c.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (yolo_set / "ignore/train/d.txt").write_text("0.5 0.5 0.1 0.1\n")
    Image.new("RGB", (200, 100)).save(yolo_set / "images/train/a.webp")
    told = dict(problems(yolo_set, yolo_set / "images/train"))
    assert (
        told[str(yolo_set / "labels/train/c.txt")]
        == "expected a picture of that name, there is none"
    )
    assert (
        told[str(yolo_set / "ignore/train/d.txt")]
        == "expected a picture of that name, there is none"
    )
    assert "shares a.txt with a.jpg" in told[str(yolo_set / "images/train/a.webp")]


def test_a_bad_ignore_line_is_named(yolo_set: Path) -> None:
    path = yolo_set / "ignore/train/a.txt"
    path.write_text("0.5 0.5 0.1 0.1\n50 50 10 10\n1 2\n")
    told = problems(yolo_set, yolo_set / "images/train")
    assert [where for where, _ in told] == [f"{path}:3", f"{path}:2"]


def test_a_damaged_picture_is_named(yolo_set: Path) -> None:
    path = yolo_set / "images/train/a.jpg"
    path.write_bytes(b"not a picture")
    [(where, what)] = problems(yolo_set, yolo_set / "images/train")
    assert where == str(path)
    assert "header can't be read" in what


@pytest.mark.parametrize(
    ("text", "names", "ids"),
    [
        ("names:\n  1: b\n  0: a\n", ("a", "b"), (1, 2)),
        ("nc: 2\nnames: [a, 3]\n", ("a", "3"), (1, 2)),
        ("names: [a, b]\ncategory_ids: [4, 9]\n", ("a", "b"), (4, 9)),
    ],
)
def test_names(tmp_path: Path, text: str, names: tuple[str, ...], ids: tuple[int, ...]) -> None:
    (tmp_path / "data.yaml").write_text(text)
    assert read_names(tmp_path / "data.yaml") == (names, ids)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("names: {0: a, 2: b}\n", "without gaps"),
        ("train: images\n", "expected `names`"),
        ("names: [a, a]\n", "names of their own"),
        ("nc: 3\nnames: [a, b]\n", "as many names as nc says, 3, got 2"),
        ("names: [a, b]\ncategory_ids: [1]\n", "one for each name"),
        ("names: [a, b]\ncategory_ids: [1, x]\n", "integers"),
        ("names: [a\n", "can't read the names"),
    ],
)
def test_bad_names(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data\.yaml") as caught:
        read_names(tmp_path / "data.yaml")
    assert what in str(caught.value)


def test_no_names_and_no_labels(tmp_path: Path, yolo_set: Path) -> None:
    (yolo_set / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"data\.yaml, data\.yml"):
        read_dataset(yolo_set, yolo_set / "images/train", "yolo")
    elsewhere = tmp_path / "elsewhere" / "names.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text("names: [car, truck]\n")
    with pytest.raises(DataError, match="expected the folder of the labels, tried"):
        read_dataset(elsewhere, elsewhere.parent, "yolo")


def test_two_pictures_of_one_name_can_not_be_written(tmp_path: Path) -> None:
    none = np.zeros((0, 4), np.float32)
    images = tuple(
        LabelledImage(tmp_path / n, n, i, (9, 9), none, np.zeros(0, np.int64), none)
        for i, n in enumerate(["a.jpg", "a.png"])
    )
    with pytest.raises(DataError, match="two are a but for the ending"):
        write_yolo(Dataset(images, ("car",), (1,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("placing", list(Placing))
def test_pictures_come_along(coco_set: tuple[Path, Path], tmp_path: Path, placing: Placing) -> None:
    out = tmp_path / "out"
    write_yolo(read_coco(*coco_set), out, placing)
    picture = out / "images" / "sub" / "a.jpg"
    assert picture.exists() == (placing is not Placing.NONE)
    assert picture.is_symlink() == (placing is Placing.LINK)


def same(a: Dataset, b: Dataset, tolerance_px: float = 0.01) -> None:
    assert (a.classes, a.category_ids) == (b.classes, b.category_ids)
    of_b = {image.file_name: image for image in b.images}
    assert sorted(image.file_name for image in a.images) == sorted(of_b)
    for image in a.images:
        other = of_b[image.file_name]
        assert image.frame_hw == other.frame_hw
        np.testing.assert_array_equal(image.labels, other.labels)
        np.testing.assert_allclose(image.xyxy, other.xyxy, rtol=0, atol=tolerance_px)
        np.testing.assert_allclose(image.ignore_xyxy, other.ignore_xyxy, rtol=0, atol=tolerance_px)


def test_coco_to_yolo_to_coco(coco_set: tuple[Path, Path], tmp_path: Path) -> None:
    dataset = read_coco(*coco_set)
    write_yolo(dataset, tmp_path / "out")
    again = read_dataset(tmp_path / "out", tmp_path / "out" / "images", "yolo")
    same(again, dataset)
    write_coco(again, tmp_path / "again.json")
    same(read_coco(tmp_path / "again.json", coco_set[1]), dataset)


@st.composite
def boxes_in(draw: st.DrawFn, frame_hw: tuple[int, int], least: int) -> list[list[float]]:
    height, width = frame_hw
    out = []
    for _ in range(draw(st.integers(least, 5))):
        w = draw(st.floats(0.5, width, width=32))
        h = draw(st.floats(0.5, height, width=32))
        x = draw(st.floats(0, 1)) * (width - w)
        y = draw(st.floats(0, 1)) * (height - h)
        out.append([x, y, x + w, y + h])
    return out


@settings(max_examples=25, deadline=None)
@given(data=st.data(), frame_hw=st.tuples(st.integers(1, 3000), st.integers(1, 5000)))
def test_any_boxes_survive_the_way_there_and_back(
    data: st.DataObject, frame_hw: tuple[int, int]
) -> None:
    boxes = np.array(data.draw(boxes_in(frame_hw, 1)), np.float32).reshape(-1, 4)
    regions = np.array(data.draw(boxes_in(frame_hw, 0)), np.float32).reshape(-1, 4)
    labels = np.array([data.draw(st.integers(0, 2)) for _ in boxes], np.int64)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        Image.new("1", frame_hw[::-1]).save(root / "a.png")
        image = LabelledImage(root / "a.png", "a.png", 1, frame_hw, boxes, labels, regions)
        dataset = Dataset((image,), ("x", "y z", "ü"), (1, 5, 6))
        write_coco(dataset, root / "a.json")
        write_yolo(read_coco(root / "a.json", root), root / "out")
        write_coco(read_dataset(root / "out", root / "out/images", "yolo"), root / "b.json")
        same(read_coco(root / "b.json", root), dataset)
