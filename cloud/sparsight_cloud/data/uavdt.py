"""UAVDT's detection sequences (M0101 ...): two text files for each sequence of frames.

    UAV-benchmark-M/M0101/img000001.jpg
    GT/M0101_gt_whole.txt     frame, id, left, top, width, height, out-of-view, occlusion, class
    GT/M0101_gt_ignore.txt    frame, id, left, top, width, height, ...: regions that aren't labelled

Classes: 1 car, 2 truck, 3 bus. `M0101_gt.txt`, the toolkit's copy without classes, is not read.
Frames count from 1. A frame without a row may be one without vehicles or one that nobody labelled:
it is a problem until that is allowed.

Source: Du et al., "The Unmanned Aerial Vehicle Benchmark", arXiv 1804.00518, and its toolkit
UAV-benchmark-MOTD_v1.0. The test sequences are those of `M_attr/test`.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from sparsight.errors import DataError
from sparsight_cloud.data.boxes import IGNORED, fitted_image
from sparsight_cloud.data.choices import Split
from sparsight_cloud.data.dataset import Dataset, LabelledImage
from sparsight_cloud.data.pictures import list_pictures, picture_hw, require_folder
from sparsight_cloud.data.reading import Reading
from sparsight_cloud.data.rows import Rows, read_rows

CLASSES = ("car", "truck", "bus")
"""The three classes; category 1 is the first."""

_TEST = """
M0203 M0205 M0208 M0209 M0403 M0601 M0602 M0606 M0701 M0801
M0802 M1001 M1004 M1007 M1009 M1101 M1301 M1302 M1303 M1401
"""

TEST_SEQUENCES = frozenset(_TEST.split())
"""The sequences to test on; the others are to train on."""

_REGION = ("frame", "id", "left", "top", "width", "height")
_BOX = (*_REGION, "out-of-view", "occlusion", "class")
_WHOLE, _IGNORE = "_gt_whole.txt", "_gt_ignore.txt"
_NAMED = 3  # frames that a message names


def scan_uavdt(annotations: Path, images: Path, reading: Reading) -> Dataset:
    """Reads what is fine in a UAVDT set; what is wrong goes to `reading`.

    Args:
        annotations: The folder `GT`, or one of the two above.
        images: The folder `UAV-benchmark-M`, with a folder of frames for each sequence; `GT` may
            have more sequences.
        reading: Gets what is wrong; its `split` says which sequences to read.

    Raises:
        DataError: One of the folders is not there, or there are no label files.
    """
    require_folder(annotations, "label files")
    places = [annotations, annotations / "GT", annotations / "UAV-benchmark-MOTD_v1.0" / "GT"]
    labels = next((place for place in places if any(place.glob(f"*{_WHOLE}"))), None)
    if labels is None:
        tried = ", ".join(map(str, places))
        raise DataError(f"{annotations}: expected label files (M0101{_WHOLE} ...), tried {tried}")
    sequences: dict[str, dict[int, str]] = {}
    pictures = list_pictures(images)
    for name, path in pictures.items():
        sequence, _, rest = name.rpartition("/")
        number = re.search(r"(\d+)$", path.stem)
        if not sequence or number is None:
            reading.problem(path, "expected frames as M0101/img000001.jpg")
        elif _wanted(sequence, reading):
            frames = sequences.setdefault(sequence, {})
            first = frames.setdefault(int(number[1]), name)
            if first != name:
                reading.problem(path, f"expected one picture a frame, {rest} is {first} again")
    if reading.split is Split.TEST:
        for absent in sorted(TEST_SEQUENCES - {s.rpartition("/")[2] for s in sequences}):
            reading.problem(images / absent, "expected a test sequence, there is no such folder")
    out: list[LabelledImage] = []
    for sequence in reading.track(sorted(sequences), "sequences"):
        out += _sequence(sequence, sequences[sequence], labels, images, len(out) + 1, reading)
    return Dataset(tuple(out), CLASSES, (1, 2, 3))


def _wanted(sequence: str, reading: Reading) -> bool:
    tested = sequence.rpartition("/")[2] in TEST_SEQUENCES
    return reading.split is Split.ALL or tested == (reading.split is Split.TEST)


def _sequence(
    name: str, frames: dict[int, str], labels: Path, images: Path, first_id: int, reading: Reading
) -> list[LabelledImage]:
    stem = name.rpartition("/")[2]
    whole, ignore = labels / f"{stem}{_WHOLE}", labels / f"{stem}{_IGNORE}"
    missing = [path for path in (whole, ignore) if not path.is_file()]
    for path in missing:
        empty = "; if nothing is to be ignored, make an empty one" if path == ignore else ""
        reading.problem(path, f"expected the labels of {images / name}, no such file{empty}")
    if whole in missing:
        return []
    boxes = read_rows(whole, _BOX, reading)
    regions = (
        Rows.none(ignore, len(_REGION))
        if ignore in missing
        else read_rows(ignore, _REGION, reading, further=True, may_be_empty=True)
    )
    known = np.isin(boxes.values[:, 8], (1, 2, 3))
    boxes.refuse(~known, "a class from 1 to 3 (car, truck, bus)", reading)
    labelled = set(boxes.values[:, 0])
    boxes = boxes.take(known)
    listed = labelled | set(regions.values[:, 0])
    _compare_frames(whole, frames, labelled, listed, images / name, reading)
    values = np.concatenate([boxes.values[:, :6], regions.values])
    categories = np.concatenate([boxes.values[:, 8] - 1, np.full(len(regions), IGNORED)])
    count = len(boxes)
    out: list[LabelledImage] = []
    for number, file_name in sorted(frames.items()):
        rows = np.flatnonzero(values[:, 0] == number)
        frame_hw = picture_hw(images / file_name, reading)
        if frame_hw is None or (number not in labelled and not reading.allow_empty):
            continue

        def where(i: int, rows: Int64[np.ndarray, " n"] = rows) -> str:
            row = int(rows[i])
            return boxes.where(row) if row < count else regions.where(row - count)

        image = fitted_image(
            images / file_name,
            file_name,
            first_id + len(out),
            frame_hw,
            _corners(values[rows]),
            categories[rows].astype(np.int64),
            where,
            reading,
        )
        out.append(image)
    return out


def _corners(values: Float64[np.ndarray, "n 6"]) -> Float64[np.ndarray, "n 4"]:
    low, size = values[:, 2:4], values[:, 4:6]
    return np.concatenate([low, low + size], axis=1)


def _compare_frames(
    whole: Path,
    frames: dict[int, str],
    labelled: set[float],
    listed: set[float],
    folder: Path,
    reading: Reading,
) -> None:
    absent = sorted(listed - frames.keys())
    if absent:
        some = ", ".join(f"{number:g}" for number in absent[:_NAMED])
        what = f"expected the frames it labels in {folder}, {len(absent)} are not there: {some} ..."
        reading.problem(whole, what)
    silent = sorted(frames.keys() - labelled)
    if silent and not reading.allow_empty:
        some = ", ".join(frames[number] for number in silent[:_NAMED])
        what = f"expected boxes of each frame, {len(silent)} have none: {some} ..."
        hint = "if they show no vehicles, allow that (--allow-empty)"
        reading.problem(whole, f"{what}; {hint}")
