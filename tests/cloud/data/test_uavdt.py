"""UAVDT's sequences in the official layout."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sparsight.errors import DataError, UsageError
from sparsight_cloud.data.choices import Split
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.data.formats import read_dataset, scan_dataset
from sparsight_cloud.data.reading import DatasetProblems, Reading
from sparsight_cloud.data.uavdt import TEST_SEQUENCES

GT = "UAV-benchmark-MOTD_v1.0/GT"


def read(root: Path, **allowed: bool) -> Dataset:
    return read_dataset(root / GT, root / "UAV-benchmark-M", "uavdt", **allowed)


@pytest.mark.parametrize("annotations", [GT, "UAV-benchmark-MOTD_v1.0", "."])
def test_frames_boxes_and_regions(uavdt_set: Path, annotations: str) -> None:
    dataset = read_dataset(uavdt_set / annotations, uavdt_set / "UAV-benchmark-M", "uavdt")
    assert dataset.classes == ("car", "truck", "bus")
    assert dataset.category_ids == (1, 2, 3)
    one, two, other = dataset.images
    assert one.file_name == "M0101/img000001.jpg"
    assert one.labels.tolist() == [0, 2]
    assert one.xyxy.tolist() == [[10, 12, 40, 32], [60, 30, 80, 40]]
    assert one.ignore_xyxy.shape == (0, 4)
    assert two.xyxy.tolist() == [[12, 12, 42, 32]]
    assert two.ignore_xyxy.tolist() == [[80, 0, 102, 15]]
    assert other.labels.tolist() == [1]
    assert [image.image_id for image in dataset.images] == [1, 2, 3]
    assert {image.frame_hw for image in dataset.images} == {(54, 102)}


@pytest.mark.parametrize(
    ("split", "names"), [(Split.TRAIN, {"M0101"}), (Split.ALL, {"M0101", "M0203"})]
)
def test_the_benchmarks_parts(uavdt_set: Path, split: Split, names: set[str]) -> None:
    reading = Reading(split=split)
    dataset = scan_dataset(uavdt_set, uavdt_set / "UAV-benchmark-M", "uavdt", reading)
    assert {image.file_name.partition("/")[0] for image in dataset.images} == names
    assert not reading.problems


def test_a_test_part_that_is_not_whole_is_told(uavdt_set: Path) -> None:
    assert len(TEST_SEQUENCES) == 20
    reading = Reading(split=Split.TEST)
    dataset = scan_dataset(uavdt_set, uavdt_set / "UAV-benchmark-M", "uavdt", reading)
    assert [image.file_name for image in dataset.images] == ["M0203/img000001.jpg"]
    assert reading.problem_count == 19
    assert reading.problems[0].where.endswith("M0205")


def test_only_uavdt_is_split(coco_set: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="only uavdt"):
        scan_dataset(*coco_set, "coco", Reading(split=Split.TEST))


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("1,1,10,12,30,20,1,-1,-1", "expected a class from 1 to 3 (car, truck, bus)"),
        ("1,1,10,12,30,20,1,1,4", "expected a class from 1 to 3"),
        ("1,1,10,12,30,20", "expected 9 numbers (frame, id, left, top, width, height, out-of-view"),
        ("1,1,10,12,-5,20,1,1,1", "with a width and a height"),
        ("1,1,900,12,30,20,1,1,1", "inside its 102x54 picture"),
    ],
)
def test_a_bad_row_is_named(uavdt_set: Path, row: str, what: str) -> None:
    path = uavdt_set / GT / "M0203_gt_whole.txt"
    path.write_text(f"1,1,5,6,20,15,1,1,2\n{row}\n")
    with pytest.raises(DatasetProblems) as caught:
        read(uavdt_set)
    [problem] = caught.value.problems
    assert problem.where == f"{path}:2"
    assert what in problem.what


def test_a_bad_region_is_named(uavdt_set: Path) -> None:
    path = uavdt_set / GT / "M0101_gt_ignore.txt"
    path.write_text("1,1,0,0,9,9\n2,1,300,0,22,15,1,-1,-1\n2,1\n")
    with pytest.raises(DatasetProblems) as caught:
        read(uavdt_set)
    assert {problem.where for problem in caught.value.problems} == {f"{path}:2", f"{path}:3"}


@pytest.mark.parametrize("missing", ["M0101_gt_whole.txt", "M0101_gt_ignore.txt"])
def test_a_missing_label_file_is_named(uavdt_set: Path, missing: str) -> None:
    (uavdt_set / GT / missing).unlink()
    with pytest.raises(DatasetProblems) as caught:
        read(uavdt_set, allow_empty=True)
    [problem] = caught.value.problems
    assert problem.where == str(uavdt_set / GT / missing)
    assert ("make an empty one" in problem.what) == ("ignore" in missing)


def test_an_empty_label_file_is_named(uavdt_set: Path) -> None:
    path = uavdt_set / GT / "M0203_gt_whole.txt"
    path.write_text("")
    with pytest.raises(DatasetProblems) as caught:
        read(uavdt_set, allow_empty=True)
    assert (caught.value.problems[0].where, caught.value.count) == (str(path), 1)


def test_frames_without_rows_need_leave(uavdt_set: Path, make_picture: Callable[..., Path]) -> None:
    make_picture(uavdt_set / "UAV-benchmark-M/M0101/img000003.jpg", (54, 102))
    with pytest.raises(DatasetProblems) as caught:
        read(uavdt_set)
    [problem] = caught.value.problems
    assert "1 have none: M0101/img000003.jpg" in problem.what
    assert "(--allow-empty)" in problem.what
    assert [len(image.labels) for image in read(uavdt_set, allow_empty=True).images] == [2, 1, 0, 1]


def test_rows_without_a_frame(uavdt_set: Path) -> None:
    (uavdt_set / "UAV-benchmark-M/M0101/img000002.jpg").unlink()
    with pytest.raises(DatasetProblems) as caught:
        read(uavdt_set)
    [problem] = caught.value.problems
    assert "1 are not there: 2" in problem.what


def test_pictures_that_are_no_frames(uavdt_set: Path, make_picture: Callable[..., Path]) -> None:
    for name in ("img000001.jpg", "M0101/preview.jpg", "M0101/img000001.png"):
        make_picture(uavdt_set / "UAV-benchmark-M" / name)
    with pytest.raises(DatasetProblems) as caught:
        read(uavdt_set)
    told = {
        problem.where.partition("UAV-benchmark-M/")[2]: problem.what
        for problem in caught.value.problems
    }
    assert (
        told["img000001.jpg"]
        == told["M0101/preview.jpg"]
        == "expected frames as M0101/img000001.jpg"
    )
    assert "is M0101/img000001.jpg again" in told["M0101/img000001.png"]


def test_no_label_files(uavdt_set: Path) -> None:
    with pytest.raises(DataError, match=r"expected label files \(M0101_gt_whole.txt"):
        read_dataset(uavdt_set / "UAV-benchmark-M", uavdt_set / "UAV-benchmark-M", "uavdt")
