"""A model without weights: objects that only the frame's bytes decide.

It is pure, batches, and refuses what a real one refuses, each in its own place.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.wire import FrameFeatures, FrameKey, FrameStatus
from sparsight_cloud.serving.dispatch import Answer, Answered, Refused, Serves

BUNDLE = "ab" * 32
CLASSES = ("car", "van", "bus")
CODEC = 1
MAGIC = b"hash"
CRASH = b"crash"
"""A payload that starts with it breaks the model down."""
DEATH = b"death"
"""A payload that starts with it ends a `MortalReplica`'s process."""


class HashReplica:
    """A `Replica` whose objects are the digits of a hash, each of them so many times."""

    def __init__(self, seconds_per_batch: float = 0.0, times: int = 1) -> None:
        self.seconds_per_batch = seconds_per_batch
        self.times = times
        self.batches: list[list[FrameKey]] = []

    @property
    def serves(self) -> Serves:
        return Serves({BUNDLE: CLASSES}, frozenset({CODEC}))

    def run(self, frames: Sequence[FrameFeatures], /) -> Sequence[Answer]:
        self.batches.append([frame.key for frame in frames])
        if self.seconds_per_batch:
            time.sleep(self.seconds_per_batch)
        return [answer(frame, self.times) for frame in frames]


class MortalReplica(HashReplica):
    """One whose process ends over some payloads; a file tells what it was asked, and by whom."""

    def __init__(self, diary: Path) -> None:
        super().__init__()
        self.diary = diary

    def run(self, frames: Sequence[FrameFeatures], /) -> Sequence[Answer]:
        with self.diary.open("a") as file:
            file.write(f"{os.getpid()} {','.join(str(frame.key.seq) for frame in frames)}\n")
        if any(frame.payload.startswith(DEATH) for frame in frames):
            os._exit(1)
        return super().run(frames)


def answer(frame: FrameFeatures, times: int = 1) -> Answer:
    """What the model says of a frame."""
    if frame.payload.startswith(CRASH):
        raise RuntimeError("broken down")
    if not frame.payload.startswith(MAGIC):
        return Refused(FrameStatus.BAD_PAYLOAD, "no payload of ours")
    digits = np.frombuffer(hashlib.sha256(frame.payload).digest(), np.uint8).astype(np.float32)
    n = int(digits[0]) % 6
    height, width = frame.letterbox.frame_hw
    corners = digits[1 : 1 + 4 * n].reshape(n, 4) / 256
    low, high = (
        np.minimum(corners[:, :2], corners[:, 2:]),
        np.maximum(corners[:, :2], corners[:, 2:]),
    )
    boxes = np.concatenate((low, high), axis=1) * np.array([width, height] * 2, np.float32)
    return Answered(
        Detections(
            xyxy=boxes.astype(np.float32).repeat(times, axis=0),
            scores=np.sort(digits[25 : 25 + n] / 256)[::-1].astype(np.float32).repeat(times),
            labels=(np.arange(n) % len(CLASSES)).astype(np.int64).repeat(times),
        ),
        BUNDLE,
    )


def a_frame(
    seq: int = 0,
    *,
    device: str = "drone-1",
    epoch: int = 1,
    stream: str = "cam",
    payload: bytes | None = None,
    thumbnail: bytes = b"",
) -> FrameFeatures:
    return FrameFeatures(
        key=FrameKey(device, epoch, seq),
        stream=stream,
        captured_unix_ns=1_700_000_000_000_000_000 + seq % 1_000_000,
        letterbox=Letterbox.fit((1080, 1920), 1536),
        rate=1,
        payload=MAGIC + f"{device}/{epoch}/{seq}".encode() if payload is None else payload,
        thumbnail=thumbnail,
    )


def same(a: Answer, b: Answer) -> bool:
    """Equal as far as a path may differ from another: 0.01 px and 1e-4 of score."""
    if isinstance(a, Refused) or isinstance(b, Refused):
        return a == b
    left, right = a.detections, b.detections
    return (
        a.bundle_id == b.bundle_id
        and len(left) == len(right)
        and np.allclose(left.xyxy, right.xyxy, rtol=0, atol=0.01)
        and np.allclose(left.scores, right.scores, rtol=0, atol=1e-4)
        and np.array_equal(left.labels, right.labels)
    )
