"""What a detector says about one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects of one frame, best first.

    Attributes:
        xyxy: Box corners in pixels of the source frame, half-open, inside the frame.
        scores: Confidence in [0, 1].
        labels: Index into the bundle's class names, from 0.
    """

    xyxy: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> Detections:
        """A frame without objects."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def above(self, score: float) -> Detections:
        """Only the objects with at least this score."""
        keep = self.scores >= score
        return Detections(self.xyxy[keep], self.scores[keep], self.labels[keep])

    def of_classes(self, labels: Int64[np.ndarray, " k"]) -> Detections:
        """Only the objects of these classes."""
        keep = np.isin(self.labels, labels)
        return Detections(self.xyxy[keep], self.scores[keep], self.labels[keep])
