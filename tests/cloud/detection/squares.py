"""Pictures with squares, and a detector that finds squares: every number can be told in advance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.settings import DetectSettings
from sparsight.slicer import Patches
from sparsight_cloud.detection.run import Frame

CLASSES = ("red", "green", "blue")
GROUND = 60
BLUE_SCORE = 0.1

Square = tuple[int, int, int, str]
"""Left, top, side and colour."""


def paint(path: Path, *squares: Square, hw: tuple[int, int] = (120, 160)) -> Path:
    """Write a picture with these squares."""
    frame = np.full((*hw, 3), GROUND, np.uint8)
    for x, y, side, name in squares:
        frame[y : y + side, x : x + side] = np.eye(3, dtype=np.uint8)[CLASSES.index(name)] * 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).save(path)
    return path


@dataclass(frozen=True, slots=True)
class Answer:
    detections: Detections
    heat: Float32[np.ndarray, "gh gw"]
    patches: Patches
    letterbox: Letterbox


@dataclass
class SquareFinder:
    """Finds squares of pure colour; red ones surely, green ones less so, blue ones hardly.

    Attributes:
        calls: Settings of each call, in order.
        before: Called with the number of the call, before it is answered.
    """

    calls: list[DetectSettings | None] = field(default_factory=list)
    before: Callable[[int], None] = lambda number: None

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def detect(
        self, frames: Sequence[Frame], settings: DetectSettings | None = None
    ) -> list[Answer]:
        self.calls.append(settings)
        self.before(len(self.calls))
        return [self._find(frame) for frame in frames]

    def _find(self, frame: UInt8[np.ndarray, "h w 3"]) -> Answer:
        boxes: list[list[float]] = []
        labels: list[int] = []
        for label in range(3):
            mask = (frame[..., label] > 200) & (frame.sum(axis=2) < 300)
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
            for x, y, width, height, area in stats[1:].tolist():
                if area > 20:
                    boxes.append([x, y, x + width, y + height])
                    labels.append(label)
        place = Letterbox.fit((frame.shape[0], frame.shape[1]), 256)
        return Answer(
            Detections(
                np.array(boxes, np.float32).reshape(-1, 4),
                np.array([(0.9, 0.6, BLUE_SCORE)[label] for label in labels], np.float32),
                np.array(labels, np.int64),
            ),
            np.zeros(place.cells_hw, np.float32),
            Patches(np.zeros((1, 2), np.int32), np.ones(1, np.float32), (16, 16), place.cells_hw),
            place,
        )
