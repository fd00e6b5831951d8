"""A detector over pictures, one at a time, and what came of each.

    sources ── read ahead in a thread ──> detect ──> draw ──> annotated picture
        │                                    └─────────────> outcome
        └─ can't be read: named, the others go on

Frames go through one by one, so that the time of a frame is the time that a user waits for it. Of
several, the first runs twice and its first time doesn't count: libraries compile and allocate in
it. Knows nothing of bundles and torch: whatever has a `Detector`'s methods will do.
"""

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from sparsight.detections import Detections
from sparsight.drawing import add_legend, draw_heat, draw_objects
from sparsight.errors import PictureError
from sparsight.geometry import Letterbox
from sparsight.pictures import read_picture
from sparsight.settings import DetectSettings
from sparsight.slicer import Patches
from sparsight_cloud.detection.outputs import write_picture
from sparsight_cloud.detection.sources import Source
from sparsight_cloud.detection.wishes import Wishes

READ_AHEAD = 1
"""Decoded pictures that may wait for the detector: 25 MB each at 4K, 600 MB at the pixel limit."""

Frame: TypeAlias = UInt8[np.ndarray, "h w 3"]


@runtime_checkable
class FrameResult(Protocol):
    """What is shown of a detector's answer to one frame.

    Attributes:
        detections: In pixels of the frame, best first.
        heat: Object probability of each cell.
        patches: What the slicer kept.
        letterbox: How the frame lay in the input.
    """

    @property
    def detections(self) -> Detections: ...  # noqa: D102
    @property
    def heat(self) -> Float32[np.ndarray, "gh gw"]: ...  # noqa: D102
    @property
    def patches(self) -> Patches: ...  # noqa: D102
    @property
    def letterbox(self) -> Letterbox: ...  # noqa: D102


@runtime_checkable
class Detector(Protocol):
    """What is run: `sparsight.model.detector.Detector`, or whatever answers like it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class, in the order of the labels."""
        ...

    def detect(
        self, frames: Sequence[Frame], settings: DetectSettings | None = None
    ) -> Sequence[FrameResult]:
        """Answers of all frames, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a picture; its pixels and maps are gone.

    Attributes:
        source: The picture.
        frame_hw: Height and width, in pixels.
        found: Every object of the classes wanted, down to the detector's own least score.
        shown: Those of them that were drawn and count as found.
        patches: How many were kept.
        occupancy: Their area over the frame's, overlaps counted twice.
        ms: Time of `detect`, in milliseconds; reading, drawing and writing apart.
    """

    source: Source
    frame_hw: tuple[int, int]
    found: Detections
    shown: Detections
    patches: int
    occupancy: float
    ms: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A picture that could not be looked at.

    Attributes:
        source: The picture.
        reason: One line that names it.
    """

    source: Source
    reason: str


def detect_sources(
    detector: Detector, sources: Sequence[Source], wishes: Wishes, out: Path
) -> Generator[Done | Failed, None, None]:
    """Look at every picture and write it annotated.

    Args:
        detector: What looks.
        sources: The pictures.
        wishes: What is wanted.
        out: The output folder.

    Yields:
        What came of each picture, in order, as soon as its annotated picture is written.

    Raises:
        UsageError: An annotated picture can't be written.
    """
    warm = len(sources) == 1
    for source, read in _read_ahead(sources, wishes.max_pixels):
        if isinstance(read, PictureError):
            yield Failed(source, str(read))
            continue
        if not warm:
            detector.detect([read], wishes.settings)
            warm = True
        start_s = time.perf_counter()
        (result,) = detector.detect([read], wishes.settings)
        ms = (time.perf_counter() - start_s) * 1e3
        found = result.detections.of_classes(wishes.labels)
        shown = found.above(wishes.conf)
        write_picture(
            _annotated(read, result, shown, detector.classes, wishes.show_heat),
            out / source.picture,
        )
        yield Done(
            source=source,
            frame_hw=(read.shape[0], read.shape[1]),
            found=found,
            shown=shown,
            patches=len(result.patches),
            occupancy=result.patches.occupancy,
            ms=ms,
        )


def _annotated(
    frame: Frame, result: FrameResult, shown: Detections, classes: tuple[str, ...], heat: bool
) -> UInt8[np.ndarray, "with_legend_h with_legend_w 3"]:
    if heat:
        frame = draw_heat(frame, result.heat, result.patches, result.letterbox)
    patches = len(result.patches)
    note = (
        f"{patches} {'patch' if patches == 1 else 'patches'}, {result.patches.kept_area:.0%} kept"
    )
    return add_legend(draw_objects(frame, shown, classes), shown, classes, note)


def _read_ahead(
    sources: Sequence[Source], max_pixels: int
) -> Iterator[tuple[Source, Frame | PictureError]]:
    """Every picture in order, the next decoded in advance; errors as values, for the rest go on."""
    waiting: deque[tuple[Source, Future[Frame | PictureError]]] = deque()
    reader = ThreadPoolExecutor(1, "read-ahead")
    try:
        for source in sources:
            waiting.append((source, reader.submit(_read, source.path, max_pixels)))
            if len(waiting) > READ_AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        # After Ctrl-C nobody waits for pictures that nobody will look at.
        reader.shutdown(cancel_futures=True)


def _read(path: Path, max_pixels: int) -> Frame | PictureError:
    try:
        return read_picture(path, max_pixels)
    except PictureError as error:
        return error
