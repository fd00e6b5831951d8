"""What is written of one frame: a line of JSON.

    {"device": "drone-1", "epoch": 7, "seq": 41, "status": "ok", "detail": "", "stream": "cam",
     "captured_unix_ns": ..., "committed_unix_ns": ..., "frame_hw": [1080, 1920],
     "bundle_id": "a73a...", "rate": 2, "payload_bytes": 18211,
     "telemetry": {"lat_deg": 48.1, "lon_deg": 11.5} or null,
     "xyxy": [[x0, y0, x1, y1], ...], "scores": [...], "labels": [...]}

Boxes are in pixels of the source frame, labels count from 0 into the classes of the bundle
(`bundles.json` beside the lines). Numbers are written so that reading them as 32-bit floats gives
back the very same ones. A frame that was refused for good has a line too, with an empty bundle id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from sparsight.codec.chain import sent_bytes
from sparsight.detections import Detections
from sparsight.errors import DataError
from sparsight.wire import FrameFeatures, FrameKey, FrameResult, FrameStatus, Telemetry
from sparsight_cloud.serving.dispatch import Answer, Answered


@dataclass(frozen=True, slots=True)
class Record:
    """One frame, once and for all.

    Attributes:
        result: Its answer, without times.
        stream: Which of the device's sources it came from.
        captured_unix_ns: When it was taken, by the device's clock.
        committed_unix_ns: When this was written, by the cloud's clock.
        frame_hw: Height and width of the source frame, in pixels.
        bundle_id: Who answered; empty if the frame was refused.
        rate: Index of the codec's quality level.
        payload_bytes: Size of its payload, as the device sent it.
        telemetry: Where the camera was, if that is known.
    """

    result: FrameResult
    stream: str
    captured_unix_ns: int
    committed_unix_ns: int
    frame_hw: tuple[int, int]
    bundle_id: str
    rate: int
    payload_bytes: int
    telemetry: Telemetry | None

    @classmethod
    def of(cls, frame: FrameFeatures, answer: Answer, committed_unix_ns: int) -> Record:
        """The record of a frame and its answer.

        Raises:
            WireError: The model's objects are none that can be sent.
        """
        if isinstance(answer, Answered):
            result = FrameResult(frame.key, FrameStatus.OK, answer.detections)
            bundle_id = answer.bundle_id
        else:
            result = FrameResult(frame.key, answer.status, Detections.empty(), answer.line)
            bundle_id = ""
        return cls(
            result=result,
            stream=frame.stream,
            captured_unix_ns=frame.captured_unix_ns,
            committed_unix_ns=committed_unix_ns,
            frame_hw=frame.letterbox.frame_hw,
            bundle_id=bundle_id,
            rate=frame.rate,
            payload_bytes=sent_bytes(frame.payload),
            telemetry=frame.telemetry,
        )


def to_line(record: Record) -> bytes:
    """One line of JSON, its end included."""
    key, found = record.result.key, record.result.detections
    return orjson.dumps(
        {
            "device": key.device,
            "epoch": key.epoch,
            "seq": key.seq,
            "status": record.result.status.name.lower(),
            "detail": record.result.detail,
            "stream": record.stream,
            "captured_unix_ns": record.captured_unix_ns,
            "committed_unix_ns": record.committed_unix_ns,
            "frame_hw": record.frame_hw,
            "bundle_id": record.bundle_id,
            "rate": record.rate,
            "payload_bytes": record.payload_bytes,
            "telemetry": record.telemetry and record.telemetry.known(),
            "xyxy": np.ascontiguousarray(found.xyxy),
            "scores": np.ascontiguousarray(found.scores),
            "labels": np.ascontiguousarray(found.labels),
        },
        option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
    )


def from_line(line: bytes) -> Record:
    """Read a line.

    Raises:
        DataError: It is none of `to_line`'s.
    """
    try:
        raw: dict[str, Any] = orjson.loads(line)
        found = Detections(
            xyxy=np.array(raw["xyxy"], np.float32).reshape(-1, 4),
            scores=np.array(raw["scores"], np.float32),
            labels=np.array(raw["labels"], np.int64),
        )
        height, width = raw["frame_hw"]
        return Record(
            result=FrameResult(
                key=FrameKey(raw["device"], raw["epoch"], raw["seq"]),
                status=FrameStatus[raw["status"].upper()],
                detections=found,
                detail=raw["detail"],
            ),
            stream=raw["stream"],
            captured_unix_ns=raw["captured_unix_ns"],
            committed_unix_ns=raw["committed_unix_ns"],
            frame_hw=(height, width),
            bundle_id=raw["bundle_id"],
            rate=raw["rate"],
            payload_bytes=raw["payload_bytes"],
            telemetry=None if raw["telemetry"] is None else Telemetry(**raw["telemetry"]),
        )
    except Exception as error:  # of a stranger's JSON anything can be wrong
        why = " ".join(str(error).split())[:200]
        raise DataError(f"no line of results ({type(error).__name__}: {why})") from error


def key_of_line(line: bytes) -> FrameKey:
    """The frame that a line is about.

    Raises:
        DataError: It is no line of results.
    """
    try:
        raw: dict[str, Any] = orjson.loads(line)
        return FrameKey(raw["device"], raw["epoch"], raw["seq"])
    except Exception as error:  # as above
        raise DataError(f"no line of results ({type(error).__name__})") from error
