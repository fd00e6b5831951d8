"""The formats by name: one way in for training, evaluation and the command line."""

from collections.abc import Callable
from pathlib import Path

from sparsight.errors import UsageError
from sparsight_cloud.data.choices import Format, Split
from sparsight_cloud.data.coco import scan_coco
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.data.reading import Reading
from sparsight_cloud.data.tinyperson import scan_tinyperson
from sparsight_cloud.data.uavdt import scan_uavdt
from sparsight_cloud.data.visdrone import scan_visdrone
from sparsight_cloud.data.yolo import scan_yolo

Scan = Callable[[Path, Path, Reading], Dataset]

READERS: dict[Format, Scan] = {
    Format.COCO: scan_coco,
    Format.YOLO: scan_yolo,
    Format.VISDRONE: scan_visdrone,
    Format.UAVDT: scan_uavdt,
    Format.TINYPERSON: scan_tinyperson,
}


def scan_dataset(annotations: Path, images: Path, fmt: str, reading: Reading) -> Dataset:
    """Reads what is fine in a data set; what is wrong goes to `reading`.

    Args:
        annotations: The file or folder of the annotations, as the format has it.
        images: The folder of the pictures.
        fmt: Name of a `Format`.
        reading: What is allowed; gets what is wrong.

    Raises:
        UsageError: There is no such format.
        DataError: There is nothing to go on with.
    """
    try:
        scan = READERS[Format(fmt)]
    except ValueError as error:
        known = ", ".join(f.value for f in Format)
        raise UsageError(f"expected one of the formats {known}, got {fmt!r}") from error
    if reading.split is not Split.ALL and fmt != Format.UAVDT:
        raise UsageError("only uavdt comes in one piece; the others have files for each part")
    dataset = scan(annotations, images, reading)
    reading.conclude(annotations, dataset)
    return dataset


def read_dataset(
    annotations: Path,
    images: Path,
    fmt: str,
    *,
    allow_empty: bool = False,
    drop_bad_boxes: bool = False,
) -> Dataset:
    """Reads a data set of any format.

    Args:
        annotations: The file or folder of the annotations, as the format has it.
        images: The folder of the pictures.
        fmt: Name of a `Format`: coco, yolo, visdrone, uavdt or tinyperson.
        allow_empty: Take pictures whose label file is missing or empty as pictures without objects.
        drop_bad_boxes: Leave boxes outside their picture or of no size out.

    Raises:
        UsageError: There is no such format.
        DataError: Something is wrong; what is, is collected and told together.
    """
    reading = Reading(allow_empty=allow_empty, drop_bad_boxes=drop_bad_boxes)
    dataset = scan_dataset(annotations, images, fmt, reading)
    reading.refuse(annotations)
    return dataset
