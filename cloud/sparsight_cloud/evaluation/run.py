"""A detector over a data set, one frame at a time, and what came of it.

    pictures ── read ahead in a thread ──> detect ──┬─ detections ──> average precision
       │                                            ├─ patches ─────> coverage
       └─ can't be read: named, left out            └─ cost, time ──> means

Frames go through one by one, so that the time of a frame is the time that a user waits for it.
The first one runs twice and its first time doesn't count: libraries compile and allocate in it.
The next pictures are decoded meanwhile on another thread; figures to compare are `make bench`'s.

Knows nothing of bundles and torch: whatever has a `Detector`'s methods is judged.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.markup import escape

from sparsight.detections import Detections
from sparsight.errors import PictureError
from sparsight.geometry import Letterbox
from sparsight.pictures import read_picture
from sparsight.settings import DetectSettings
from sparsight.slicer import Patches
from sparsight_cloud.data.dataset import Dataset, LabelledImage
from sparsight_cloud.evaluation.classes import ClassMatch
from sparsight_cloud.evaluation.coco_ap import ApReport, average_precision
from sparsight_cloud.evaluation.coverage import (
    Coverage,
    FrameCoverage,
    coverage,
    frame_coverage,
)
from sparsight_cloud.progress import counting

READ_AHEAD = 2
"""Decoded pictures that may wait for the detector: 25 MB each at 4K."""

Frame: TypeAlias = UInt8[np.ndarray, "h w 3"]


@runtime_checkable
class FrameResult(Protocol):
    """What is judged of a detector's answer to one frame.

    Attributes:
        detections: In pixels of the frame.
        patches: What the slicer kept.
        letterbox: How the frame lay in the input.
        gflops: Cost of this frame, 2 per multiply-add, in 10^9.
        times_ms: Time of each stage, in milliseconds.
        payload_bytes: What a device would have sent of it; None without a codec.
    """

    @property
    def detections(self) -> Detections: ...  # noqa: D102
    @property
    def patches(self) -> Patches: ...  # noqa: D102
    @property
    def letterbox(self) -> Letterbox: ...  # noqa: D102
    @property
    def gflops(self) -> float: ...  # noqa: D102
    @property
    def times_ms(self) -> dict[str, float]: ...  # noqa: D102
    @property
    def payload_bytes(self) -> int | None: ...  # noqa: D102


@runtime_checkable
class Detector(Protocol):
    """What is judged: `sparsight.model.detector.Detector`, or whatever answers like it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class, in the order of the labels."""
        ...

    def detect(
        self, frames: Sequence[Frame], settings: DetectSettings | None = None
    ) -> Sequence[FrameResult]:
        """Answers of all frames, in their order."""
        ...

    def gflops_dense(self, letterbox: Letterbox, /) -> float:
        """Cost of a frame of this size when the whole of it is run, in 10^9 operations."""
        ...


@dataclass(frozen=True, slots=True)
class FailedPicture:
    """A picture that was not judged.

    Attributes:
        file_name: Its name in the annotations.
        reason: One line for a person.
    """

    file_name: str
    reason: str


@dataclass(frozen=True, slots=True)
class JudgedFrame:
    """One frame's share of an evaluation; its pixels and maps are gone.

    Attributes:
        image: Its labels, those of classes that the detector knows.
        detections: What was found, labelled with the data set's classes.
        patches: What the slicer kept.
        letterbox: How the frame lay in the input.
        coverage: How many boxes lie in patches, and their area.
        gflops: Cost, in 10^9 operations.
        gflops_dense: Cost of the frame when run whole.
        ms: Time of `detect`, in milliseconds.
        times_ms: Time of each stage.
        payload_bytes: What a device would have sent; None without a codec.
    """

    image: LabelledImage
    detections: Detections
    patches: Patches
    letterbox: Letterbox
    coverage: FrameCoverage
    gflops: float
    gflops_dense: float
    ms: float
    times_ms: dict[str, float]
    payload_bytes: int | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a detector is worth on a data set. Means are over the frames that could be read.

    Attributes:
        ap: Average precision, sizes in pixels of the pictures.
        coverage: What the slicer kept.
        gflops_per_frame: Mean cost, in 10^9 operations.
        gflops_dense: Mean cost of the same frames when run whole, in 10^9 operations.
        ms_per_frame: Mean time of `detect` on one frame, in milliseconds, decoding apart.
        ms_median: Median of it.
        times_ms: Mean time of each stage, in milliseconds.
        payload_bytes: Mean size of what a device would have sent; None without a codec.
        images: Frames that were judged.
        failed: Pictures that could not be read.
        classes_judged: The data set's classes that the detector knows and that have boxes.
        classes_unknown: Those that the detector doesn't know; their boxes don't count.
        frames: Each of the frames that were judged.
    """

    ap: ApReport
    coverage: Coverage
    gflops_per_frame: float
    gflops_dense: float
    ms_per_frame: float
    ms_median: float
    times_ms: dict[str, float]
    payload_bytes: float | None
    images: int
    failed: tuple[FailedPicture, ...]
    classes_judged: tuple[str, ...]
    classes_unknown: tuple[str, ...]
    frames: tuple[JudgedFrame, ...]


def run_evaluation(
    detector: Detector,
    dataset: Dataset,
    match: ClassMatch,
    settings: DetectSettings,
    console: Console,
) -> Evaluation:
    """Run a detector over a data set and judge it.

    Args:
        detector: What is judged.
        dataset: Pictures and labels; at least one picture.
        match: The detector's classes on the data set's.
        settings: How the detector is run.
        console: Shows progress, the time left and, as they come, the pictures that can't be read.

    Raises:
        PictureError: No picture can be read. As long as one can, the others are in `failed`.
    """
    judged: list[JudgedFrame] = []
    failed: list[FailedPicture] = []
    labelled = match.dataset(dataset)
    with counting(console) as progress:
        task = progress.add_task("judging", total=len(labelled.images))
        for image, read in _read_ahead(labelled.images):
            if isinstance(read, PictureError):
                failed.append(FailedPicture(image.file_name, str(read)))
                progress.console.print(f"[red]not judged:[/] {escape(str(read))}", soft_wrap=True)
            else:
                if not judged:
                    detector.detect([read], settings)
                judged.append(_judge(detector, image, read, match, settings))
            progress.advance(task)
    if not judged:
        raise PictureError(
            f"none of {len(failed)} pictures can be read; the first: {failed[0].reason}"
        )
    return _summed_up(
        replace(labelled, images=tuple(j.image for j in judged)), match, judged, failed
    )


def _judge(
    detector: Detector,
    image: LabelledImage,
    frame: Frame,
    match: ClassMatch,
    settings: DetectSettings,
) -> JudgedFrame:
    start_s = time.perf_counter()
    (result,) = detector.detect([frame], settings)
    ms = (time.perf_counter() - start_s) * 1e3
    return JudgedFrame(
        image=image,
        detections=match.detections(result.detections),
        patches=result.patches,
        letterbox=result.letterbox,
        coverage=frame_coverage(image, result.patches, result.letterbox),
        gflops=result.gflops,
        gflops_dense=detector.gflops_dense(result.letterbox),
        ms=ms,
        times_ms=dict(result.times_ms),
        payload_bytes=result.payload_bytes,
    )


def _summed_up(
    dataset: Dataset, match: ClassMatch, judged: list[JudgedFrame], failed: list[FailedPicture]
) -> Evaluation:
    stages = dict.fromkeys(stage for frame in judged for stage in frame.times_ms)
    sizes = [frame.payload_bytes for frame in judged if frame.payload_bytes is not None]
    ap = average_precision(dataset, [frame.detections for frame in judged])
    return Evaluation(
        ap=ap,
        coverage=coverage([frame.coverage for frame in judged]),
        gflops_per_frame=fmean(frame.gflops for frame in judged),
        gflops_dense=fmean(frame.gflops_dense for frame in judged),
        ms_per_frame=fmean(frame.ms for frame in judged),
        ms_median=median(frame.ms for frame in judged),
        times_ms={
            stage: fmean(frame.times_ms.get(stage, 0.0) for frame in judged) for stage in stages
        },
        payload_bytes=fmean(sizes) if sizes else None,
        images=len(judged),
        failed=tuple(failed),
        classes_judged=tuple(one.name for one in ap.per_class),
        classes_unknown=tuple(
            name for i, name in enumerate(dataset.classes) if i not in match.judged
        ),
        frames=tuple(judged),
    )


def _read_ahead(
    images: Sequence[LabelledImage],
) -> Iterator[tuple[LabelledImage, Frame | PictureError]]:
    """Every picture in order, a few decoded in advance; errors as values, for the rest go on."""
    waiting: deque[tuple[LabelledImage, Future[Frame | PictureError]]] = deque()
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        for image in images:
            waiting.append((image, reader.submit(_read, image)))
            if len(waiting) > READ_AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def read_labelled(image: LabelledImage) -> Frame:
    """Read a picture of a labelled set.

    Raises:
        PictureError: It can't be read, or is not of the size that its boxes are for.
    """
    frame = read_picture(image.path)
    hw = frame.shape[0], frame.shape[1]
    if hw != image.frame_hw:
        # Boxes of another picture, or of the same before it was turned or scaled, judge nothing.
        raise PictureError(
            f"{image.path}: {hw[1]}x{hw[0]} px, but annotated as {image.frame_hw[1]}x"
            f"{image.frame_hw[0]}; annotations and pictures don't belong together"
        )
    return frame


def _read(image: LabelledImage) -> Frame | PictureError:
    try:
        return read_labelled(image)
    except PictureError as error:
        return error
