"""A folder of results, as a cloud would have written it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.wire import FrameFeatures, FrameKey, FrameStatus, Telemetry
from sparsight_cloud.serving.dispatch import Answered, Refused
from sparsight_cloud.serving.records import Record, from_line, to_line
from sparsight_cloud.serving.segments import Segments
from sparsight_cloud.sinks.results import write_classes

BUNDLE, OTHER = "ab" * 32, "cd" * 32
CLASSES = {BUNDLE: ("car", "van"), OTHER: ("person", "car")}
CAPTURED_UNIX_NS = 1_700_000_000_123_456_789


def a_record(
    seq: int,
    objects: int = 2,
    *,
    device: str = "drone-1",
    bundle_id: str = BUNDLE,
    committed_s: float = 0.5,
) -> Record:
    """A record that was committed so long after the first frame's capture."""
    frame = FrameFeatures(
        key=FrameKey(device, 1, seq),
        stream="cam",
        captured_unix_ns=CAPTURED_UNIX_NS + seq % 1000,
        letterbox=Letterbox.fit((1080, 1920), 1536),
        rate=2,
        payload=b"x" * 100,
        telemetry=Telemetry(lat_deg=48.1) if seq % 2 else None,
    )
    n = np.arange(objects, dtype=np.float32)
    found = Detections(
        xyxy=np.stack((n, n + 1, n + 11, n + 21), axis=1).reshape(-1, 4),
        scores=(0.9 - n / 10).astype(np.float32),
        labels=(np.arange(objects) % 2).astype(np.int64),
    )
    return Record.of(frame, Answered(found, bundle_id), CAPTURED_UNIX_NS + int(committed_s * 1e9))


def a_refusal(seq: int) -> Record:
    frame = replace(a_record(seq).result, detections=Detections.empty())
    refused = Refused(FrameStatus.BAD_PAYLOAD, "damaged")
    record = a_record(seq, 0)
    return replace(
        record,
        bundle_id="",
        result=replace(frame, status=refused.status, detail=refused.line),
    )


def write_results(out: Path, records: list[Record], segment_bytes: int = 1 << 20) -> None:
    segments = Segments(out, segment_bytes=segment_bytes, fsync=False)
    for record in records:
        segments.append([to_line(record)])
    segments.close()
    write_classes(out, CLASSES)


def seqs(lines: Iterable[bytes]) -> list[int]:
    return [from_line(line).result.key.seq for line in lines]
