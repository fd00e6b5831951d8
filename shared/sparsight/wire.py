"""Values to messages and back: the only place that sees protobuf.

    FrameResult  --pack_result-->  bytes  --unpack_result-->  FrameResult

Everything else holds the frozen values below. Boxes and scores travel as 32-bit floats, so what
comes out is what went in, to the bit. What comes in is a stranger's: a message that is damaged,
incomplete or out of range is refused with `WireError`, and a reader never sees half of one.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from google.protobuf.message import DecodeError

from sparsight.detections import Detections
from sparsight_proto.v1 import detections_pb2

DEVICE_NAME_MAX = 128
"""Longest name of a device, in characters."""

DETECTIONS_MAX = 10_000
"""Most objects in one frame; more is damage or malice, and is refused before anything is built."""

_UINT64_MAX = 2**64 - 1
_UINT32_MAX = 2**32 - 1


class WireError(ValueError):
    """Bytes that are no message of ours, or a value that the wire can't carry."""


class FrameStatus(Enum):
    """What became of a frame; the values are those of the wire."""

    OK = detections_pb2.FRAME_STATUS_OK
    REFUSED = detections_pb2.FRAME_STATUS_REFUSED
    UNKNOWN_BUNDLE = detections_pb2.FRAME_STATUS_UNKNOWN_BUNDLE
    UNAVAILABLE = detections_pb2.FRAME_STATUS_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class FrameKey:
    """Names one frame of one device, once and for all.

    Attributes:
        device: The device's own name, 1 to `DEVICE_NAME_MAX` characters.
        epoch: One boot of the agent; grows from boot to boot.
        seq: The frame's number within the epoch, from 0.

    Raises:
        WireError: A part is outside the range above.
    """

    device: str
    epoch: int
    seq: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.device) <= DEVICE_NAME_MAX:
            raise WireError(
                f"a device's name has 1 to {DEVICE_NAME_MAX} characters, got {len(self.device)}"
            )
        for name, value in (("epoch", self.epoch), ("seq", self.seq)):
            if not 0 <= value <= _UINT64_MAX:
                raise WireError(f"{name} is a number of 64 bits from 0, got {value}")


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The cloud's answer to one frame.

    Attributes:
        key: The frame.
        status: What became of it.
        detections: Its objects, best first; none unless the status is OK.
        detail: One line for people; empty when the status is OK.
    """

    key: FrameKey
    status: FrameStatus
    detections: Detections
    detail: str = ""


def pack_result(result: FrameResult) -> bytes:
    """Serialise an answer.

    Raises:
        WireError: More objects or a larger label than the wire carries.
    """
    detections = result.detections
    if len(detections) > DETECTIONS_MAX:
        raise WireError(f"at most {DETECTIONS_MAX} objects a frame, got {len(detections)}")
    if np.any((detections.labels < 0) | (detections.labels > _UINT32_MAX)):
        raise WireError("a label is a number of 32 bits from 0")
    message = detections_pb2.FrameResult(
        key=detections_pb2.FrameKey(
            device=result.key.device, epoch=result.key.epoch, seq=result.key.seq
        ),
        status=result.status.value,
        detail=result.detail,
    )
    for (x0, y0, x1, y1), score, label in zip(
        detections.xyxy.tolist(),
        detections.scores.tolist(),
        detections.labels.tolist(),
        strict=True,
    ):
        box = detections_pb2.Box(x0=x0, y0=y0, x1=x1, y1=y1)
        message.detections.add(box=box, score=score, label=label)
    return message.SerializeToString()


def unpack_result(data: bytes) -> FrameResult:
    """Parse an answer.

    Raises:
        WireError: The bytes are no such message, or something in it is missing or out of range.
    """
    try:
        message = detections_pb2.FrameResult.FromString(data)
    except DecodeError as error:
        raise WireError(f"{len(data)} bytes are no FrameResult") from error
    if len(message.detections) > DETECTIONS_MAX:
        raise WireError(f"at most {DETECTIONS_MAX} objects a frame, got {len(message.detections)}")
    try:
        status = FrameStatus(message.status)
    except ValueError as error:
        raise WireError(f"status {message.status} is not one this version knows") from error
    return FrameResult(
        key=FrameKey(message.key.device, message.key.epoch, message.key.seq),
        status=status,
        detections=_detections(message),
        detail=message.detail,
    )


def _detections(message: detections_pb2.FrameResult) -> Detections:
    """The objects of a message, checked."""
    found = message.detections
    rows = [(d.box.x0, d.box.y0, d.box.x1, d.box.y1, d.score) for d in found]
    values = np.array(rows, np.float32).reshape(-1, 5)
    scores = values[:, 4]
    if not np.all(np.isfinite(values)):
        raise WireError("boxes and scores are finite numbers")
    if np.any((scores < 0) | (scores > 1)):
        raise WireError("scores are between 0 and 1")
    labels = np.array([d.label for d in found], np.int64)
    return Detections(xyxy=values[:, :4].copy(), scores=scores.copy(), labels=labels)
