"""Small data sets and detectors' answers, made up for the tests of this folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image

from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.settings import DetectSettings
from sparsight.slicer import Patches
from sparsight_cloud.data.dataset import Dataset, LabelledImage


def boxes(*rows: Sequence[float]) -> Float32[np.ndarray, "n 4"]:
    return np.array(rows, np.float32).reshape(-1, 4)


def labels(*values: int) -> Int64[np.ndarray, " n"]:
    return np.array(values, np.int64)


def picture(
    xyxy: Float32[np.ndarray, "n 4"],
    classes: Int64[np.ndarray, " n"] | None = None,
    ignore_xyxy: Float32[np.ndarray, "m 4"] | None = None,
    frame_hw: tuple[int, int] = (600, 800),
    name: str = "frame.png",
    folder: Path = Path(),
) -> LabelledImage:
    return LabelledImage(
        path=folder / name,
        file_name=name,
        image_id=0,
        frame_hw=frame_hw,
        xyxy=xyxy,
        labels=np.zeros(len(xyxy), np.int64) if classes is None else classes,
        ignore_xyxy=boxes() if ignore_xyxy is None else ignore_xyxy,
    )


def dataset_of(*images: LabelledImage, classes: tuple[str, ...] = ("car",)) -> Dataset:
    return Dataset(images, classes, tuple(range(1, len(classes) + 1)))


def found(
    xyxy: Float32[np.ndarray, "n 4"],
    scores: Sequence[float],
    classes: Int64[np.ndarray, " n"] | None = None,
) -> Detections:
    return Detections(
        xyxy,
        np.array(scores, np.float32),
        np.zeros(len(xyxy), np.int64) if classes is None else classes,
    )


def jittered(
    dataset: Dataset, rng: np.random.Generator, whole_px: bool = False
) -> list[Detections]:
    """What a fair detector might say: most boxes moved a little, some doubled, some invented."""
    return [_jitter(image, len(dataset.classes), rng, whole_px) for image in dataset.images]


def _jitter(
    image: LabelledImage, classes: int, rng: np.random.Generator, whole_px: bool
) -> Detections:
    seen = rng.random(len(image.labels)) < 0.8
    twice = rng.random(len(image.labels)) < 0.2
    pick = np.concatenate([np.flatnonzero(seen), np.flatnonzero(twice)])
    side = image.xyxy[pick, 2:] - image.xyxy[pick, :2]
    move = rng.normal(0, 0.12, (len(pick), 4)) * np.tile(side, 2)
    near = image.xyxy[pick] + move
    made_up = rng.uniform(0, 1, (30, 2)) * image.frame_hw[::-1]
    false = np.concatenate([made_up, made_up + rng.uniform(4, 120, (30, 2))], axis=1)
    xyxy = np.concatenate([near, false])
    xyxy = np.round(xyxy) if whole_px else xyxy
    xyxy[:, 2:] = np.maximum(xyxy[:, 2:], xyxy[:, :2] + 1)
    given = np.concatenate([image.labels[pick], rng.integers(0, classes, 30)])
    wrong = rng.random(len(given)) < 0.1
    given = np.where(wrong, rng.integers(0, classes, len(given)), given)
    # Two digits: many scores are equal, so an order that is not stable shows.
    scores = np.round(rng.beta(2, 3, len(xyxy)), 2)
    order = np.argsort(-scores, kind="stable")
    return Detections(
        xyxy[order].astype(np.float32), scores[order].astype(np.float32), given[order]
    )


@dataclass(frozen=True, slots=True)
class FakeResult:
    detections: Detections
    patches: Patches
    letterbox: Letterbox
    gflops: float
    times_ms: dict[str, float]
    payload_bytes: int | None = None


class FakeDetector:
    """Knows a picture by the red of its first pixel and answers what it was told about it."""

    classes = ("car", "van")
    settings = DetectSettings(long_side_px=320)

    def __init__(self, answers: dict[int, Detections]) -> None:
        self.answers = answers
        self.seen: list[int] = []

    def detect(
        self, frames: Sequence[UInt8[np.ndarray, "h w 3"]], settings: DetectSettings | None = None
    ) -> list[FakeResult]:
        assert settings is not None
        return [self._detect(frame, settings) for frame in frames]

    def _detect(self, frame: UInt8[np.ndarray, "h w 3"], settings: DetectSettings) -> FakeResult:
        key = int(frame[0, 0, 0])
        self.seen.append(key)
        letterbox = Letterbox.fit((frame.shape[0], frame.shape[1]), settings.long_side_px)
        patches = Patches(
            np.zeros((1, 2), np.int32), np.ones(1, np.float32), (16, 16), letterbox.cells_hw
        )
        return FakeResult(self.answers[key], patches, letterbox, 2.0 + key, {"stem": 1.0 + key})

    def gflops_dense(self, letterbox: Letterbox) -> float:
        return letterbox.input_hw[0] * letterbox.input_hw[1] / 1000


def drawn(
    folder: Path, key: int, xyxy: Float32[np.ndarray, "n 4"], name: str = ""
) -> LabelledImage:
    """A picture on disk that the fake detector knows by this key."""
    name = name or f"frame{key}.png"
    Image.new("RGB", (320, 240), (key, 0, 0)).save(folder / name)
    return picture(xyxy, frame_hw=(240, 320), name=name, folder=folder)
