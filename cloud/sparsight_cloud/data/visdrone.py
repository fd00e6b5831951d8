"""VisDrone DET: a text file for each picture, eight fields a line.

    annotations/0000001_02999_d_0000005.txt
    684,8,273,116,0,0,0,0
    left, top, width, height, score, category, truncation, occlusion

- category: 0 ignored region, 1 to 10 the classes, 11 others. 0 and 11 become ignore regions.
- score: 1 judged, 0 not. The toolkit turns a row of score 0 into one that detections of its class
  may match without being right or wrong; here it becomes an ignore region, for any class.
- truncation: 0 none, 1 up to half of the object outside the picture; beyond that (2) the benchmark
  does not judge, so it becomes an ignore region. occlusion: 0 none, 1 up to half, 2 more; it is
  checked and not used.

Sources: VisDrone-Dataset and VisDrone2018-DET-toolkit (`saveAnnoRes.m`, `dropObjectsInIgr.m`);
Zhu et al., "Vision Meets Drones: A Challenge", arXiv 1804.07437, section 3.
"""

from pathlib import Path

import numpy as np

from sparsight_cloud.data.boxes import IGNORED, fitted_image
from sparsight_cloud.data.dataset import Dataset, LabelledImage
from sparsight_cloud.data.pairs import Pair, pair_up
from sparsight_cloud.data.pictures import list_pictures, picture_hw
from sparsight_cloud.data.reading import Reading
from sparsight_cloud.data.rows import Rows, read_rows

CLASSES = (
    "pedestrian",
    "people",
    "bicycle",
    "car",
    "van",
    "truck",
    "tricycle",
    "awning-tricycle",
    "bus",
    "motor",
)
"""The ten classes; category 1 is the first."""

_FIELDS = ("left", "top", "width", "height", "score", "category", "truncation", "occlusion")
_OTHERS = len(CLASSES) + 1
_TRUNCATED_BY_MORE_THAN_HALF = 2


def scan_visdrone(annotations: Path, images: Path, reading: Reading) -> Dataset:
    """Reads what is fine in a VisDrone DET set; what is wrong goes to `reading`.

    Args:
        annotations: The folder `annotations`, or the one above.
        images: The folder `images`.
        reading: Gets what is wrong.

    Raises:
        DataError: One of the folders is not there, or there are no label files.
    """
    inner = annotations / "annotations"
    labels = inner if inner.is_dir() else annotations
    out: list[LabelledImage] = []
    pairs = pair_up(list_pictures(images), labels, reading)
    for pair in reading.track(pairs, "annotations"):
        image = _image(pair, len(out) + 1, reading)
        if image is not None:
            out.append(image)
    return Dataset(tuple(out), CLASSES, tuple(range(1, _OTHERS)))


def _image(pair: Pair, image_id: int, reading: Reading) -> LabelledImage | None:
    frame_hw = picture_hw(pair.picture, reading)
    rows = (
        Rows.none(pair.picture, len(_FIELDS))
        if pair.labels is None
        else read_rows(pair.labels, _FIELDS, reading, may_be_empty=reading.allow_empty)
    )
    for column, allowed, expected in (
        (4, (0, 1), "a score of 0 or 1 (a file of detections is no ground truth)"),
        (5, range(_OTHERS + 1), f"a category from 0 to {_OTHERS}"),
        (6, (0, 1, 2), "a truncation of 0, 1 or 2"),
        (7, (0, 1, 2), "an occlusion of 0, 1 or 2"),
    ):
        fine = np.isin(rows.values[:, column], list(allowed))
        rows.refuse(~fine, expected, reading)
        rows = rows.take(fine)
    if frame_hw is None:
        return None
    xywh, (score, category, truncation, _) = rows.values[:, :4], rows.values[:, 4:].T
    skipped = (
        (category == 0)
        | (category == _OTHERS)
        | (score == 0)
        | (truncation == _TRUNCATED_BY_MORE_THAN_HALF)
    )
    labels = np.where(skipped, IGNORED, category - 1).astype(np.int64)
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return fitted_image(
        pair.picture, pair.file_name, image_id, frame_hw, xyxy, labels, rows.where, reading
    )
