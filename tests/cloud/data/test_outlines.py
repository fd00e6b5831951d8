import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sparsight.errors import DataError
from sparsight_cloud.data.coco import read_coco
from sparsight_cloud.data.dataset import Dataset

HW = (40, 60)
TRIANGLE = [10, 10, 30, 10, 10, 30]


def read(tmp_path: Path, *segmentations: Any, **more: Any) -> Dataset:
    Image.new("RGB", HW[::-1]).save(tmp_path / "a.png")
    boxes = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "segmentation": s}
        for i, s in enumerate(segmentations, 1)
    ]
    raw = {
        "images": [{"id": 1, "file_name": "a.png", "width": HW[1], "height": HW[0]}],
        "annotations": [box | more for box in boxes],
        "categories": [{"id": 1, "name": "kite"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(raw))
    return read_coco(tmp_path / "a.json", tmp_path)


def test_polygons_and_run_lengths(tmp_path: Path) -> None:
    # Columns 20 and 21, rows 5 to 14.
    counts = [20 * 40 + 5, 10, 30, 10, 60 * 40 - (21 * 40 + 15)]
    plain = {"size": list(HW), "counts": counts}
    image = read(tmp_path, [TRIANGLE, [40, 30, 50, 30, 45, 38]], plain).images[0]
    polygons, runs = image.outlines
    np.testing.assert_array_equal(polygons.xyxy, [10, 10, 30, 30])
    np.testing.assert_array_equal(polygons.rings[0], [[10, 10], [30, 10], [10, 30]])
    assert len(polygons.rings) == 2
    np.testing.assert_array_equal(runs.rings[0].min(0), [20.5, 5.5])
    np.testing.assert_array_equal(runs.rings[0].max(0), [21.5, 14.5])


def test_what_says_nothing_about_a_shape_is_passed_over(tmp_path: Path) -> None:
    box = [[10, 10, 30, 10, 30, 30, 10, 30]]
    assert read(tmp_path, [], None, box).images[0].outlines == ()


def test_regions_to_ignore_have_no_shape(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected boxes"):
        read(tmp_path, [TRIANGLE], iscrowd=1)


@pytest.mark.parametrize(
    "wrong",
    [
        [[1, 2, 3, 4]],
        [[1, 2, 3]],
        [TRIANGLE, "x"],
        {"size": [40, 60]},
        {"size": [40, 60], "counts": [5, 5]},
        7,
    ],
)
def test_what_is_no_segmentation_is_named(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(DataError, match="annotations, id 1: expected a segmentation of polygons"):
        read(tmp_path, wrong)
