"""What is written: annotated pictures, and the objects as COCO results.

Files are written beside their place and moved there, so that whatever ends the program leaves whole
files only.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from sparsight.detections import Detections
from sparsight.errors import UsageError

RESULTS = "detections.json"
"""Name of the file of objects in the output folder."""

JPEG_QUALITY = 92
_JPEG_SIDE_PX = 65000  # the format ends at 65535


def prepare_folder(out: Path) -> None:
    """Make the output folder, before minutes of work are spent on what goes there.

    Raises:
        UsageError: It can't be made or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        trial = out / f".{RESULTS}.part"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise _unwritable(out, error) from error


def write_picture(picture: UInt8[np.ndarray, "h w 3"], path: Path) -> None:
    """Write a picture as JPEG; what is longer than JPEG allows is made smaller.

    Args:
        picture: RGB.
        path: Where it goes; folders are made.

    Raises:
        UsageError: It can't be written there.
    """
    _write(as_jpeg(picture), path)


def as_jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A picture as a JPEG file; what is longer than JPEG allows is made smaller.

    Args:
        picture: RGB.
    """
    longest = max(picture.shape[:2])
    if longest > _JPEG_SIDE_PX:
        scale = _JPEG_SIDE_PX / longest
        height, width = (max(1, int(side * scale)) for side in picture.shape[:2])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(encoded.tobytes())


def write_results(results: Sequence[dict[str, Any]], out: Path) -> Path:
    """Write `detections.json`, one object a line.

    Args:
        results: As from `coco_results`.
        out: The output folder.

    Returns:
        The file.

    Raises:
        UsageError: It can't be written.
    """
    lines = ",\n".join(json.dumps(result) for result in results)
    _write(f"[\n{lines}\n]\n".encode() if results else b"[]\n", out / RESULTS)
    return out / RESULTS


def coco_results(
    image_id: int, file_name: str, found: Detections, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The objects of one picture as COCO results.

    Args:
        image_id: Id of the picture.
        file_name: Its name.
        found: The objects.
        classes: The detector's classes; the first has category id 1.

    Returns:
        One entry an object: `bbox` is x, y, width, height in pixels of the picture, to 0.01.
    """
    sizes = np.concatenate((found.xyxy[:, :2], found.xyxy[:, 2:] - found.xyxy[:, :2]), axis=1)
    bboxes = sizes.astype(np.float64).round(2).tolist()
    scores = found.scores.astype(np.float64).round(5).tolist()
    return [
        {
            "image_id": image_id,
            "file_name": file_name,
            "category_id": label + 1,
            "category_name": classes[label],
            "bbox": bbox,
            "score": score,
        }
        for bbox, label, score in zip(bboxes, found.labels.tolist(), scores, strict=True)
    ]


def _write(data: bytes, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        _drop(part)
        raise _unwritable(path, error) from error
    except BaseException:  # Ctrl-C in the middle
        _drop(part)
        raise


def _drop(part: Path) -> None:
    with suppress(OSError):
        part.unlink()


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: can't be written ({error.strerror or error}); give another --out")
