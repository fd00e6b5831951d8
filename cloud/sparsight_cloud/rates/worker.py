"""One process of a sweep: jobs in, results in the store.

Job ─┬─ of a frame: read ─ prepare (kept for the frame's next curve) ─ shoot each row ─ save
     └─ of a video: read ─ encode, frame by frame ─ look at what was decoded ─ save each
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2
import numpy as np
import torch

from sparsight.bundle import open_bundle
from sparsight.geometry import Letterbox
from sparsight.pictures import letterbox
from sparsight_cloud.data.dataset import LabelledImage
from sparsight_cloud.evaluation.run import read_labelled
from sparsight_cloud.rates.device import DeviceParts, no_times
from sparsight_cloud.rates.lab import Lab
from sparsight_cloud.rates.rows import DEVICE, Curve, Row
from sparsight_cloud.rates.shots import Prepared, Shot, as_coded, judged, prepare, shoot, wire_bytes
from sparsight_cloud.rates.store import Store
from sparsight_cloud.rates.streams import H264_LOW_DELAY, H265_LOW_DELAY, Picture, streamed

WARM_PX = 64
"""Side of the frame that a worker is warmed with; it is scaled to the input as any other."""

VIDEO_CODINGS = {"h264_video": H264_LOW_DELAY, "h265_video": H265_LOW_DELAY}


@dataclass(frozen=True, slots=True)
class Job:
    """Work for one process.

    Attributes:
        rows: Of one curve, not yet done.
        images: One frame, or those of a video in their order.
        frames: Their names in the store.
    """

    rows: tuple[Row, ...]
    images: tuple[LabelledImage, ...]
    frames: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many results come of it."""
        return len(self.rows) * len(self.frames)


@dataclass(frozen=True, slots=True)
class Setup:
    """What every process needs.

    Attributes:
        bundle: Folder of the bundle.
        tuned: Folder of the one that learned from coded pictures; None without.
        store: Where results go.
        fps: Frames a second of videos.
    """

    bundle: Path
    tuned: Path | None
    store: Store
    fps: float


@dataclass(frozen=True, slots=True)
class Video:
    """Frames of one camera and size, in their order.

    Attributes:
        images: Its pictures.
        frames: Names in a store, for rows whose frames depend on those before them.
    """

    images: tuple[LabelledImage, ...]
    frames: tuple[str, ...]


class Worker:
    """Does jobs; owns the detectors."""

    def __init__(self, setup: Setup, stop: Event | None = None) -> None:
        """Load the bundles.

        Args:
            setup: What with.
            stop: Once set, jobs end after the row that they are at.
        """
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        bundle = open_bundle(setup.bundle)
        long_side_px = bundle.manifest.long_side_px
        self._lab = Lab(bundle, long_side_px)
        self._tuned = Lab(open_bundle(setup.tuned), long_side_px) if setup.tuned else None
        self._bundle, self._store, self._fps, self._stop = bundle, setup.store, setup.fps, stop
        self._prepared: tuple[str, Prepared] | None = None
        self._parts: DeviceParts | None = None
        self._warm()

    def do(self, job: Job) -> int:
        """Do a job.

        Returns:
            How many results it was to give.

        Raises:
            PictureError: A frame can't be read.
        """
        for row in job.rows:
            if row.curve.family == "video":
                self._video(row, job)
            elif not self._stopped:
                prepared = self._prepare(job)
                if row.curve.name == DEVICE:
                    shot = self._device(prepared)
                else:
                    shot = shoot(row, prepared, self._lab, self._tuned)
                self._store.save(row, job.frames[0], shot)
        return job.size

    def _warm(self) -> None:
        """Code a made-up frame whole, so that no frame's times hold those of a compiler."""
        noise = np.random.default_rng(0).integers(0, 256, (WARM_PX, WARM_PX, 3), np.uint8)
        shoot(Row(Curve("warm", "ours", "whole", (0,)), 0), prepare(noise, self._lab), self._lab)

    @property
    def _stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _prepare(self, job: Job) -> Prepared:
        if self._prepared is None or self._prepared[0] != job.frames[0]:
            frame = read_labelled(job.images[0])
            self._prepared = job.frames[0], prepare(frame, self._lab)
        return self._prepared[1]

    def _video(self, row: Row, job: Job) -> None:
        boxes: deque[Letterbox] = deque()
        coding = VIDEO_CODINGS[row.curve.codec]
        sent = streamed(self._pictures(job, boxes), coding, row.quality, self._fps)
        for name, one in zip(job.frames, sent, strict=True):
            if self._stopped:
                return
            box = boxes.popleft()
            if self._store.has(row, name):
                continue
            found = judged(row, one.picture, box, self._lab, self._tuned)
            shot = Shot(wire_bytes(one.data, box), found, {"encode_ms": one.encode_ms})
            self._store.save(row, name, shot)

    def _pictures(self, job: Job, boxes: deque[Letterbox]) -> Iterator[Picture]:
        """The frames of a video as they are coded; how they lie in the input goes to `boxes`."""
        for image in job.images:
            frame = read_labelled(image)
            boxes.append(self._lab.box_of(frame))
            yield as_coded(frame, boxes[-1])

    def _device(self, prepared: Prepared) -> Shot:
        codec = self._lab.detector.codec
        assert codec is not None
        if self._parts is None:
            try:
                self._parts = DeviceParts(self._bundle, codec.steps_of(0).numpy())
            except ImportError:
                return Shot(0, {}, no_times())
        return Shot(0, {}, self._parts.times_ms(letterbox(prepared.frame, prepared.box)))


_worker: Worker | None = None
"""Of this process, if it is one of a pool's."""


def begin(setup: Setup, stop: Event) -> None:
    """Make this process a worker."""
    global _worker
    _worker = Worker(setup, stop)


def do(job: Job) -> int:
    """Do a job in a process that has begun."""
    assert _worker is not None
    return _worker.do(job)
