"""What became of every frame, from what the devices and the cloud wrote down.

    device  frames.jsonl   each frame that was spooled: its key and the picture's name
            results.jsonl  each answer: when it came, and the cloud's share of the time
    cloud   results/*.jsonl  each frame that was committed: the objects

Nobody is believed: a frame counts as committed if the cloud has a line of it, and the pictures that
should have been sent are known beforehand.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.demo.plan import Camera

from sparsight.detections import Detections
from sparsight.wire import FrameKey, FrameStatus
from sparsight_cloud.serving.records import Record

_NS_PER_MS = 1e6

FRAMES, RESULTS = "frames.jsonl", "results.jsonl"


@dataclass(frozen=True, slots=True)
class Latency:
    """Where a frame's time went, from the camera to its objects on the device, in milliseconds.

    Attributes:
        device: From capture to a payload: letterbox, engine, slicer, codec, and waiting in between.
        link: The spool, waiting for the line to be free, and the way there and back.
        queue: Waiting in the cloud for a place in a batch.
        cloud: Its batch's forward pass, and until the result was on disk.
    """

    device: float
    link: float
    queue: float
    cloud: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.device + self.link + self.queue + self.cloud


@dataclass(frozen=True, slots=True)
class Outcome:
    """One picture of a camera.

    Attributes:
        camera: The camera's name.
        picture: The picture.
        sent: Whether the device spooled it.
        commits: How often the cloud committed it; once is right.
        found: Its objects as the cloud has them; None if it was not committed.
        payload_bytes: Of its features; None if it was not committed.
        latency: None if no answer with times came, and of a device's first frame, in which
            libraries compile and allocate.
    """

    camera: str
    picture: Path
    sent: bool
    commits: int
    found: Detections | None
    payload_bytes: int | None
    latency: Latency | None


@dataclass(frozen=True, slots=True)
class DeviceFiles:
    """What a device wrote down."""

    frames: Sequence[dict[str, Any]]
    results: Sequence[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> DeviceFiles:
        """Read the --out folder of `sparsight edge run`; what is not there is empty."""
        return cls(_lines(folder / FRAMES), _lines(folder / RESULTS))


def outcomes_of(camera: Camera, device: DeviceFiles, records: Iterable[Record]) -> list[Outcome]:
    """What became of a camera's pictures, in their order.

    Args:
        camera: The camera.
        device: What its device wrote down.
        records: What the cloud committed of all devices.
    """
    picture_of = {_key(camera, line): line["name"] for line in device.frames}
    committed: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        key = record.result.key
        if key.device == camera.name and record.result.status is FrameStatus.OK:
            # A frame that the device knows nothing of is nobody's, and shows as a lost one.
            committed[picture_of.get(key, "")].append(record)
    latency_of = _latencies(camera, device)
    sent = Counter(picture_of.values())
    outcomes = []
    for picture in camera.pictures:
        records_of = committed[picture.name]
        first = records_of[0] if records_of else None
        outcomes.append(
            Outcome(
                camera=camera.name,
                picture=picture,
                sent=sent[picture.name] > 0,
                commits=len(records_of),
                found=None if first is None else first.result.detections,
                payload_bytes=None if first is None else first.payload_bytes,
                latency=latency_of.get(picture.name),
            )
        )
    return outcomes


def _latencies(camera: Camera, device: DeviceFiles) -> dict[str, Latency]:
    """By the picture's name; without the device's first frame if there are others."""
    line_of = {_key(camera, line): line for line in device.frames}
    out = {}
    for answer in device.results:
        frame, cloud = line_of.get(_key(camera, answer)), answer["cloud_ms"]
        if frame is None or cloud is None:
            continue
        device_ms = (frame["coded_unix_ns"] - frame["captured_unix_ns"]) / _NS_PER_MS
        rest_ms = (answer["answered_unix_ns"] - frame["coded_unix_ns"]) / _NS_PER_MS
        in_cloud_ms = cloud["compute"] + cloud["commit"]
        out[str(frame["name"])] = Latency(
            device_ms, rest_ms - cloud["queue"] - in_cloud_ms, cloud["queue"], in_cloud_ms
        )
    if len(camera.pictures) > 1:
        out.pop(camera.pictures[0].name, None)
    return out


def _key(camera: Camera, line: dict[str, Any]) -> FrameKey:
    return FrameKey(camera.name, line["epoch"], line["seq"])


def _lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a file."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
