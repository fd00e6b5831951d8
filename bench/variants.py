"""The ways of running one set of weights that are held against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from sparsight.detections import Detections
from sparsight.errors import UsageError
from sparsight.model.detector import Detector
from sparsight.settings import DetectSettings

TITLES = {
    "dense": "dense",
    "patches": "patches, dense head",
    "sparse": "patches, sparse head",
    "sahi": "SAHI, same scale",
    "sahi_native": "SAHI, native scale",
}
"""Each variant's key and what people read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one frame.

    Attributes:
        detections: Its objects, in frame pixels.
        gflops: Operations spent on it, multiply-adds times two, in 1e9.
        times_ms: Wall time of the detector's stages; SAHI's own work is in none of them.
        kept_area: Share of the frame that the deep layers saw; None where the detector ran often.
        occupancy: Area of the patches over the frame's, overlaps counted twice; None likewise.
        runs: How often the detector was run: once, but for SAHI.
    """

    detections: Detections
    gflops: float
    times_ms: dict[str, float]
    kept_area: float | None
    occupancy: float | None
    runs: int = 1


Run = Callable[[UInt8[np.ndarray, "h w 3"]], Answer]


def make_variant(key: str, detector: Detector, settings: DetectSettings) -> Run:
    """One way of running the detector on a frame.

    Args:
        key: One of `TITLES`.
        detector: The weights.
        settings: What all variants share: scale, slicer, score cut.

    Raises:
        UsageError: No such variant, or SAHI is asked for and not installed.
    """
    if key.startswith("sahi") and key in TITLES:
        return _sahi(detector, settings, native=key == "sahi_native")
    ways = {
        "dense": replace(settings, mode="dense"),
        "patches": replace(settings, mode="split", sparse_head=False),
        "sparse": replace(settings, mode="split", sparse_head=True),
    }
    if key not in ways:
        raise UsageError(f"variant {key!r}: expected one of {', '.join(TITLES)}")
    way = ways[key]

    def run(frame: UInt8[np.ndarray, "h w 3"]) -> Answer:
        (result,) = detector.detect([frame], way)
        kept, occupied = result.patches.kept_area, result.patches.occupancy
        return Answer(result.detections, result.gflops, dict(result.times_ms), kept, occupied)

    return run


def _sahi(detector: Detector, settings: DetectSettings, *, native: bool) -> Run:
    try:
        from bench.sahi_model import SlicedModel, detect_sliced, silence  # noqa: PLC0415
    except ImportError as e:
        raise UsageError(
            f"SAHI can't be loaded ({e}); run `make bench`, which installs it, or give --skip-sahi"
        ) from e
    silence()
    model = SlicedModel(detector, settings)

    def run(frame: UInt8[np.ndarray, "h w 3"]) -> Answer:
        got = detect_sliced(model, frame, native=native)
        return Answer(got.detections, got.gflops, got.times_ms, None, None, got.runs)

    return run
