"""Pictures in a page: drawn over, made small, and written into the address itself."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sparsight.geometry import Letterbox
from sparsight_cloud.evaluation.faults import Faults
from sparsight_cloud.evaluation.run import read_labelled

LONG_SIDE_PX = 1100
AROUND_PX = 96
"""Side of what is shown around an object that the seeker missed, in pixels of the input."""

FOUND, MISSED, FALSE = (60, 200, 90), (230, 40, 50), (250, 170, 30)
QUALITY = 80


def faults_drawn(one: Faults) -> str:
    """A picture with what was found, missed and made up, as an address.

    Raises:
        PictureError: It can't be read any more.
    """
    frame, found = one.frame, one.frame.detections
    picture = read_labelled(frame.image)
    box = Letterbox.fit(frame.image.frame_hw, min(LONG_SIDE_PX, max(frame.image.frame_hw)))
    h, w = box.scaled_hw
    canvas = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)
    _boxes(canvas, box.to_input(found.xyxy[one.shown & ~one.false]), FOUND)
    _boxes(canvas, box.to_input(found.xyxy[one.false]), FALSE)
    _boxes(canvas, box.to_input(frame.image.xyxy[one.missed]), MISSED)
    return address(canvas)


def unseen_drawn(one: Faults, count: int) -> list[str]:
    """What the seeker missed in a picture, as addresses; at most so many.

    Raises:
        PictureError: The picture can't be read any more.
    """
    boxes = one.frame.image.xyxy[one.unseen][:count]
    if not len(boxes):
        return []
    picture = read_labelled(one.frame.image)
    scale = max(one.frame.letterbox.scaled_hw) / max(one.frame.image.frame_hw)
    side = max(8, round(AROUND_PX / scale))
    padded = np.pad(picture, ((side, side), (side, side), (0, 0)))
    out = []
    for x0, y0, x1, y1 in boxes.tolist():
        left, top = int((x0 + x1) / 2 - side / 2) + side, int((y0 + y1) / 2 - side / 2) + side
        crop = cv2.resize(
            padded[top : top + side, left : left + side], (144, 144), interpolation=cv2.INTER_CUBIC
        )
        corners = (np.array([x0, y0, x1, y1]) + side - [left, top, left, top]) * (144 / side)
        _boxes(crop, corners[None], MISSED)
        out.append(address(crop))
    return out


def address(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    """An RGB picture as a JPEG in a `data:` address."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _boxes(
    canvas: UInt8[np.ndarray, "h w 3"],
    xyxy: Float[np.ndarray, "n 4"],
    colour: tuple[int, int, int],
) -> None:
    for x0, y0, x1, y1 in np.round(xyxy).astype(int).tolist():
        cv2.rectangle(canvas, (x0 - 1, y0 - 1), (x1, y1), colour, 1, cv2.LINE_AA)
