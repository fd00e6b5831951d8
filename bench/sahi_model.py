"""Our dense detector behind SAHI, as SAHI wants its models.

    frame ─ sahi: slices 640x640, overlap 0.2, and the whole frame ─> our detector, dense, each
    boxes <─ sahi: its own merging of all boxes <────────────────────────────────────┘

SAHI (Akyon et al., arXiv 2202.06934, MIT) is run as its users run it: `get_sliced_prediction` with
a slice size and everything else at its defaults. Below a confidence of 0.1, which judging AP needs,
version 0.12 itself changes its merging from GREEDYNMM/IOS to NMS/IOU; that stays, too.
"""

# mypy: allow-subclassing-any
# SAHI is no dependency of ours: `make check` runs without it, and its types are then unknown.

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from sahi.models.base import DetectionModel
from sahi.predict import get_sliced_prediction
from sahi.prediction import ObjectPrediction
from sahi.utils.compatibility import fix_full_shape_list, fix_shift_amount_list

from sparsight.detections import Detections
from sparsight.model.detector import Detector
from sparsight.settings import DetectSettings

SLICE_PX = 640
OVERLAP = 0.2


@dataclass(frozen=True, slots=True)
class Sliced:
    """What came of one frame.

    Attributes:
        detections: Its objects in frame pixels, as SAHI merged them.
        gflops: Operations of all slices and of the whole frame, multiply-adds times two, in 1e9.
        times_ms: Wall time of the detector's stages, summed over its runs.
        runs: How often the detector was run.
    """

    detections: Detections
    gflops: float
    times_ms: dict[str, float]
    runs: int


class SlicedModel(DetectionModel):
    """The detector as a `sahi` model; keeps account of what it spends.

    Attributes:
        scale: Input pixels for one pixel of the frame; the same for slices and the whole frame.
    """

    def __init__(self, detector: Detector, settings: DetectSettings) -> None:
        """A model that SAHI can run.

        Args:
            detector: Runs dense on whatever SAHI hands it.
            settings: Its score cut is SAHI's confidence threshold.
        """
        self.settings = replace(settings, mode="dense")
        self.scale = 1.0
        self.gflops = 0.0
        self.times_ms: dict[str, float] = {}
        self.runs = 0
        super().__init__(
            model=detector,
            device=str(detector.device),
            confidence_threshold=settings.score_min,
            category_mapping={str(i): name for i, name in enumerate(detector.classes)},
        )

    def set_model(self, model: Any, **kwargs: Any) -> None:
        """Take the detector; SAHI calls this."""
        self.model = model

    def start(self, scale: float) -> None:
        """Begin a frame: set the scale and the accounts to zero."""
        self.scale, self.gflops, self.times_ms, self.runs = scale, 0.0, {}, 0

    def perform_inference(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Run the detector on a slice or on the whole frame; SAHI calls this."""
        long_side_px = max(1, round(max(image.shape[:2]) * self.scale))
        (result,) = self.model.detect([image], replace(self.settings, long_side_px=long_side_px))
        self.gflops += result.gflops
        self.runs += 1
        for stage, ms in result.times_ms.items():
            self.times_ms[stage] = self.times_ms.get(stage, 0.0) + ms
        self._original_predictions = result.detections

    def _create_object_prediction_list_from_original_predictions(
        self, shift_amount_list: Any = None, full_shape_list: Any = None
    ) -> None:
        found: Detections = self._original_predictions
        shift = fix_shift_amount_list(shift_amount_list)[0]
        shapes = fix_full_shape_list(full_shape_list)
        rows = zip(found.xyxy.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(
                    bbox=xyxy,
                    score=score,
                    category_id=label,
                    category_name=self.model.classes[label],
                    shift_amount=shift,
                    full_shape=shapes[0] if shapes else None,
                )
                for xyxy, score, label in rows
            ]
        ]


def detect_sliced(
    model: SlicedModel, frame: UInt8[np.ndarray, "h w 3"], *, native: bool = False
) -> Sliced:
    """Run one frame through SAHI.

    Args:
        model: The detector.
        frame: RGB.
        native: Run slices and frame pixel by pixel as they are; otherwise at the scale that gives
            the frame's long side the length at which the detector runs whole frames.
    """
    model.start(1.0 if native else model.settings.long_side_px / max(frame.shape[:2]))
    result = get_sliced_prediction(
        frame,
        model,
        slice_height=SLICE_PX,
        slice_width=SLICE_PX,
        overlap_height_ratio=OVERLAP,
        overlap_width_ratio=OVERLAP,
        verbose=0,
    )
    found = _detections(result.object_prediction_list, model.settings.max_detections)
    return Sliced(found, model.gflops, dict(model.times_ms), model.runs)


def silence() -> None:
    """Keep SAHI from telling once a frame that it changed its merging (see the module)."""
    logging.getLogger("sahi").setLevel(logging.ERROR)


def _detections(objects: list[Any], most: int) -> Detections:
    if not objects:
        return Detections.empty()
    xyxy = np.array([one.bbox.to_xyxy() for one in objects], np.float32)
    scores = np.array([one.score.value for one in objects], np.float32)
    labels = np.array([one.category.id for one in objects], np.int64)
    # As many as our own detector may answer with: AP is to be judged on like terms.
    best = np.argsort(-scores, kind="stable")[:most]
    return Detections(xyxy[best], scores[best], labels[best])
