"""Small data sets on disk, in each format's own layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

FRAME_HW = (90, 160)

MakePicture = Callable[..., Path]


@pytest.fixture
def make_picture() -> MakePicture:
    def make(path: Path, hw: tuple[int, int] = FRAME_HW, orientation: int | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        Image.new("RGB", (hw[1], hw[0]), (90, 120, 60)).save(path, exif=exif)
        return path

    return make


@pytest.fixture
def coco_raw() -> dict[str, Any]:
    """Two pictures; ids with gaps, an ignore region, a crowd, an ignored box, and a sparse one."""
    return {
        "images": [
            {
                "id": 7,
                "file_name": "b.jpg",
                "width": 160,
                "height": 90,
                "ignore_regions": [[100, 50, 30, 20]],
            },
            {"id": 3, "file_name": "sub/a.jpg", "width": 160, "height": 90},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 9, "bbox": [10, 20, 30, 40]},
            {"id": 2, "image_id": 3, "category_id": 4, "bbox": [0.5, 0.25, 12.125, 8]},
            {"id": 3, "image_id": 7, "category_id": 4, "bbox": [1, 2, 3, 4], "iscrowd": 1},
            {"id": 4, "image_id": 7, "category_id": 4, "bbox": [5, 6, 7, 8], "ignore": True},
            {"id": 5, "image_id": 7, "category_id": 4, "bbox": [60, 10, 4, 6]},
        ],
        "categories": [{"id": 9, "name": "bus"}, {"id": 4, "name": "car"}],
    }


@pytest.fixture
def coco_set(
    tmp_path: Path, coco_raw: dict[str, Any], make_picture: MakePicture
) -> tuple[Path, Path]:
    """The annotation file and the folder of pictures of `coco_raw`."""
    for name in ("b.jpg", "sub/a.jpg"):
        make_picture(tmp_path / "images" / name)
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(coco_raw))
    return path, tmp_path / "images"


@pytest.fixture
def yolo_set(tmp_path: Path, make_picture: MakePicture) -> Path:
    """The root of a set in Ultralytics' layout, with this project's ignore regions."""
    root = tmp_path / "yolo"
    for name in ("train/a.jpg", "train/b.png"):
        make_picture(root / "images" / name, (100, 200))
    for name, text in {
        "data.yaml": "train: images/train\nnames: [car, truck]\n",
        "labels/train/a.txt": "1 0.5 0.5 0.1 0.2\n0 0.1 0.2 0.05 0.05\n",
        "labels/train/b.txt": "0 0.25 0.5 0.02 0.02\n",
        "ignore/train/a.txt": "0.8 0.9 0.2 0.2\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def visdrone_set(tmp_path: Path, make_picture: MakePicture) -> Path:
    """The root of a VisDrone2019-DET set."""
    root = tmp_path / "VisDrone2019-DET-val"
    for name in ("0000001_02999_d_0000005", "0000364_01765_d_0000782"):
        make_picture(root / "images" / f"{name}.jpg", (108, 192))
    (root / "annotations").mkdir()
    (root / "annotations/0000001_02999_d_0000005.txt").write_text(
        "68,8,27,11,0,0,0,0\n"  # ignored region
        "40,66,16,10,1,4,0,0\n"  # car
        "100,50,12,9,1,10,1,2\n"  # motor, truncated and occluded, yet judged
        "10,70,9,9,1,11,0,0,\n"  # others; some of the official files end lines so
        "120,20,8,8,0,1,0,0\n"  # pedestrian that is not judged
        "0,90,20,10,1,5,2,0\n"  # van, more than half of it outside
    )
    (root / "annotations/0000364_01765_d_0000782.txt").write_text("1,2,3,4,1,1,0,1\n")
    return root


@pytest.fixture
def uavdt_set(tmp_path: Path, make_picture: MakePicture) -> Path:
    """The root of a UAVDT set: two sequences, one of them to test on."""
    root = tmp_path / "UAVDT"
    for sequence, frames in {"M0101": 2, "M0203": 1}.items():
        for number in range(1, frames + 1):
            name = f"UAV-benchmark-M/{sequence}/img{number:06d}.jpg"
            make_picture(root / name, (54, 102))
    labels = root / "UAV-benchmark-MOTD_v1.0" / "GT"
    labels.mkdir(parents=True)
    (labels / "M0101_gt_whole.txt").write_text(
        "1,1,10,12,30,20,1,1,1\n2,1,12,12,30,20,1,2,1\n1,2,60,30,20,10,1,1,3\n"
    )
    (labels / "M0101_gt_ignore.txt").write_text("2,1,80,0,22,15,1,-1,-1\n")
    (labels / "M0101_gt.txt").write_text("1,1,10,12,30,20,1,-1,-1\n")
    (labels / "M0203_gt_whole.txt").write_text("1,1,5,6,20,15,1,1,2\n")
    (labels / "M0203_gt_ignore.txt").write_text("")
    return root


@pytest.fixture
def tinyperson_raw() -> dict[str, Any]:
    """The keys of `tiny_set_train_with_dense.json`."""

    def box(key: int, image_id: int, bbox: list[float], **flags: object) -> dict[str, Any]:
        plain = {"ignore": False, "uncertain": False, "logo": False, "in_dense_image": False}
        about = {"id": key, "image_id": image_id, "category_id": 1, "iscrowd": 0, "area": 1.0}
        return about | plain | {"bbox": bbox} | flags

    return {
        "type": "instance",
        "images": [
            {"file_name": "labeled_images/a.jpg", "height": 90, "width": 160, "id": 0},
            {"file_name": "dense/b.jpg", "height": 90, "width": 160, "id": 1},
        ],
        "annotations": [
            box(0, 0, [108.25, 17.5, 12.5, 5.0], ignore=True, logo=True),
            box(1, 0, [10.5, 20.0, 2.5, 6.0]),
            box(2, 0, [30.0, 40.0, 3.0, 5.0], category_id=2),
            box(3, 0, [50.0, 40.0, 4.0, 5.0], uncertain=True),
            box(4, 0, [70.0, 40.0, 4.0, 5.0], logo=True),
            box(5, 1, [50.0, 40.0, 4.0, 5.0], in_dense_image=True),
        ],
        "categories": [
            {"id": 1, "name": "sea_person", "supercategory": "person"},
            {"id": 2, "name": "earth_person", "supercategory": "person"},
        ],
    }


@pytest.fixture
def tinyperson_set(
    tmp_path: Path, tinyperson_raw: dict[str, Any], make_picture: MakePicture
) -> tuple[Path, Path]:
    """The annotation file and the folder of pictures of `tinyperson_raw`."""
    folder = tmp_path / "tiny_set" / "train"
    for name in ("labeled_images/a.jpg", "dense/b.jpg"):
        make_picture(folder / name)
    path = tmp_path / "tiny_set" / "tiny_set_train_with_dense.json"
    path.write_text(json.dumps(tinyperson_raw))
    return path, folder
