"""One way in for every format; the figures of what comes out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsight.errors import UsageError
from sparsight_cloud.data.choices import Format
from sparsight_cloud.data.coco import read_coco
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.data.formats import READERS, read_dataset
from sparsight_cloud.data.pictures import list_pictures
from sparsight_cloud.data.summary import summarise


def test_every_format_has_a_reader() -> None:
    assert set(READERS) == set(Format)


def test_an_unknown_format(coco_set: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="coco, yolo, visdrone, uavdt, tinyperson, got 'voc'"):
        read_dataset(*coco_set, "voc")


def test_one_scene_in_four_formats(tmp_path: Path, make_picture: Callable[..., Path]) -> None:
    """A truck of 20x10 px at (30, 40) and a region of 50x20 px at (100, 60), four times over."""
    make_picture(tmp_path / "M0101/img000001.jpg")
    category = {"visdrone": 6, "uavdt": 2}
    (tmp_path / "visdrone/M0101").mkdir(parents=True)
    (tmp_path / "visdrone/M0101/img000001.txt").write_text(
        f"30,40,20,10,1,{category['visdrone']},0,0\n100,60,50,20,0,0,0,0\n"
    )
    (tmp_path / "uavdt").mkdir()
    (tmp_path / "uavdt/M0101_gt_whole.txt").write_text(f"1,1,30,40,20,10,1,1,{category['uavdt']}\n")
    (tmp_path / "uavdt/M0101_gt_ignore.txt").write_text("1,1,100,60,50,20,1,-1,-1\n")
    (tmp_path / "yolo").mkdir()
    for name, line in {
        "yolo/classes.txt": "car\ntruck\n",
        "yolo/labels/M0101/img000001.txt": "1 0.25 0.5 0.125 0.1111111111\n",
        "yolo/ignore/M0101/img000001.txt": "0.78125 0.7777777778 0.3125 0.2222222222\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(line)
    name = "M0101/img000001.jpg"
    image = {"id": 1, "file_name": name, "width": 160, "height": 90}
    (tmp_path / "coco.json").write_text(
        json.dumps(
            {
                "images": [image | {"ignore_regions": [[100, 60, 50, 20]]}],
                "annotations": [{"image_id": 1, "category_id": 5, "bbox": [30, 40, 20, 10]}],
                "categories": [{"id": 5, "name": "truck"}],
            }
        )
    )
    for fmt, annotations in {
        "visdrone": "visdrone",
        "uavdt": "uavdt",
        "yolo": "yolo",
        "coco": "coco.json",
    }.items():
        dataset = read_dataset(tmp_path / annotations, tmp_path, fmt)
        [image_read] = dataset.images
        assert image_read.file_name == name, fmt
        assert [dataset.classes[label] for label in image_read.labels] == ["truck"], fmt
        np.testing.assert_allclose(image_read.xyxy, [[30, 40, 50, 50]], atol=1e-4, err_msg=fmt)
        np.testing.assert_allclose(
            image_read.ignore_xyxy, [[100, 60, 150, 80]], atol=1e-4, err_msg=fmt
        )


def test_pictures_are_found_below_in_order_of_name(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    for name in ("b/2.PNG", "b/1.jpg", "a.webp", "c.tif"):
        make_picture(tmp_path / name)
    (tmp_path / "b/notes.txt").write_text("no picture")
    assert list(list_pictures(tmp_path)) == ["a.webp", "b/1.jpg", "b/2.PNG", "c.tif"]


def test_figures(coco_set: tuple[Path, Path], coco_raw: dict[str, Any]) -> None:
    path, images = coco_set
    coco_raw["annotations"] += [
        {"image_id": 7, "category_id": 4, "bbox": [60, 10, 4, 6]},  # again
        {"image_id": 7, "category_id": 4, "bbox": [0, 0, 16, 16]},  # small begins here
        {"image_id": 7, "category_id": 9, "bbox": [0, 0, 160, 90]},
    ]
    path.write_text(json.dumps(coco_raw))
    figures = summarise(read_coco(path, images))
    assert (figures.images, figures.boxes, figures.images_without_boxes) == (2, 6, 0)
    assert (figures.boxes_per_image_median, figures.boxes_per_image_max) == (3.0, 5)
    assert figures.doubled_boxes == 1
    assert [(c.name, c.category_id, c.boxes, c.images) for c in figures.classes] == [
        ("car", 4, 4, 2),
        ("bus", 9, 2, 1),
    ]
    assert {s.name: s.boxes for s in figures.sizes} == {
        "tiny": 3,
        "small": 1,
        "medium": 1,
        "large": 1,
    }
    assert figures.sizes[0].share == 0.5
    assert (figures.ignore_regions, figures.images_with_regions) == (3, 1)
    assert figures.frame_sizes == (("160x90", 2),)


def test_figures_of_nothing() -> None:
    figures = summarise(Dataset((), ("car",), (1,)))
    assert (figures.images, figures.boxes, figures.sizes[0].share) == (0, 0, 0.0)
