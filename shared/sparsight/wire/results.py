"""A frame's key, and the cloud's answer to it.

    FrameKey (device, epoch, seq) ──> FrameResult (status, detections, detail, times)

What a device does next depends on the status alone:

    done   OK REFUSED BAD_PAYLOAD BAD_PATCHES WRONG_DEVICE ALREADY_DONE   drop the frame, and ack it
    again  UNAVAILABLE OVER_CREDIT NO_REFERENCE                           send the same frame later
    held   UNKNOWN_BUNDLE CODEC_VERSION                                   not before an update

A value that exists is a value that may travel: every bound is checked when it is made.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from sparsight.detections import Detections
from sparsight.errors import WireError
from sparsight.wire.limits import (
    DETECTIONS_MAX,
    UINT32_MAX,
    UINT64_MAX,
    require_detail,
    require_name,
    require_range,
)
from sparsight_proto.v1 import detections_pb2


class FrameStatus(Enum):
    """What became of a frame; the values are those of the wire."""

    OK = detections_pb2.FRAME_STATUS_OK
    REFUSED = detections_pb2.FRAME_STATUS_REFUSED
    UNKNOWN_BUNDLE = detections_pb2.FRAME_STATUS_UNKNOWN_BUNDLE
    UNAVAILABLE = detections_pb2.FRAME_STATUS_UNAVAILABLE
    BAD_PAYLOAD = detections_pb2.FRAME_STATUS_BAD_PAYLOAD
    BAD_PATCHES = detections_pb2.FRAME_STATUS_BAD_PATCHES
    CODEC_VERSION = detections_pb2.FRAME_STATUS_CODEC_VERSION
    WRONG_DEVICE = detections_pb2.FRAME_STATUS_WRONG_DEVICE
    OVER_CREDIT = detections_pb2.FRAME_STATUS_OVER_CREDIT
    ALREADY_DONE = detections_pb2.FRAME_STATUS_ALREADY_DONE
    NO_REFERENCE = detections_pb2.FRAME_STATUS_NO_REFERENCE

    @property
    def again(self) -> bool:
        """Whether the same frame will be taken later."""
        return self in (
            FrameStatus.UNAVAILABLE,
            FrameStatus.OVER_CREDIT,
            FrameStatus.NO_REFERENCE,
        )

    @property
    def held(self) -> bool:
        """Whether the frame waits for an update of the cloud or of the device."""
        return self in (FrameStatus.UNKNOWN_BUNDLE, FrameStatus.CODEC_VERSION)

    @property
    def done(self) -> bool:
        """Whether the device may drop the frame."""
        return not (self.again or self.held)


@dataclass(frozen=True, slots=True)
class FrameKey:
    """Names one frame of one device, once and for all.

    Attributes:
        device: The device's own name, 1 to `NAME_MAX` printable characters.
        epoch: One boot of the agent; grows from boot to boot.
        seq: The frame's number within the epoch, from 0.

    Raises:
        WireError: A part is outside the range above.
    """

    device: str
    epoch: int
    seq: int

    def __post_init__(self) -> None:
        require_name("device", self.device)
        require_range("epoch", self.epoch, 0, UINT64_MAX)
        require_range("seq", self.seq, 0, UINT64_MAX)


@dataclass(frozen=True, slots=True)
class CloudTimes:
    """Where a frame's time in the cloud went; a round trip less all three is the link's share.

    Attributes:
        queue_ms: From the gateway's reading it to the start of its batch.
        compute_ms: Its batch, from start to end.
        commit_ms: From there to its being on disk.

    Raises:
        WireError: One is negative, NaN or infinite.
    """

    queue_ms: float
    compute_ms: float
    commit_ms: float

    def __post_init__(self) -> None:
        for name in ("queue_ms", "compute_ms", "commit_ms"):
            require_range(name, getattr(self, name), 0, _MILLISECONDS_MAX)


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The cloud's answer to one frame.

    Attributes:
        key: The frame.
        status: What became of it.
        detections: Its objects, best first; none unless the status is OK.
        detail: One line for people; empty when the status is OK.
        times: Where its time went; None for an answer that took no computing.
        retry_after_ms: For a status to send `again`: not before; 0 is at once.

    Raises:
        WireError: More objects, a larger label or a longer line than the wire carries, numbers that
            are not finite, scores outside [0, 1], objects of a frame that is not OK.
    """

    key: FrameKey
    status: FrameStatus
    detections: Detections
    detail: str = ""
    times: CloudTimes | None = None
    retry_after_ms: int = 0

    def __post_init__(self) -> None:
        require_detail("detail", self.detail)
        require_range("retry_after_ms", self.retry_after_ms, 0, UINT32_MAX)
        if self.status is not FrameStatus.OK and len(self.detections):
            raise WireError(
                f"detections: expected none of a frame that is {self.status.name}, "
                f"got {len(self.detections)}"
            )
        _require_sound(self.detections)


_MILLISECONDS_MAX = 1e9  # eleven days: far above any time, and exact enough in 32 bits


def _require_sound(found: Detections) -> None:
    """Check what the wire and its reader rely on."""
    if len(found) > DETECTIONS_MAX:
        raise WireError(f"detections: expected at most {DETECTIONS_MAX}, got {len(found)}")
    if not (np.isfinite(found.xyxy).all() and np.isfinite(found.scores).all()):
        raise WireError("detections: expected finite boxes and scores")
    if np.any((found.scores < 0) | (found.scores > 1)):
        raise WireError("detections: expected scores from 0 to 1")
    if np.any((found.labels < 0) | (found.labels > UINT32_MAX)):
        raise WireError(f"detections: expected a label from 0 to {UINT32_MAX}")
