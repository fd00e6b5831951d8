"""What is said on a stream besides frames and results.

    device                               cloud
      Hello ────────────────────────────>
      <─────────────────── Welcome, Credit      or Refusal, and the stream ends
      frames within the credit ──────────>
      <────────────────── results, Credit
      Ack (results that are stored) ─────>

Credit is counted in totals since the Welcome, never in differences: a total can be lost, doubled or
overtaken and the next one still says it all.
"""

import re
from dataclasses import dataclass
from enum import Enum

from sparsight.errors import WireError
from sparsight.wire.limits import (
    ACK_SEQS_MAX,
    PAYLOAD_BYTES_MAX,
    STREAMS_MAX,
    THUMBNAIL_BYTES_MAX,
    UINT32_MAX,
    UINT64_MAX,
    WIRE_VERSION,
    require_detail,
    require_name,
    require_range,
)
from sparsight_proto.v1 import features_pb2


@dataclass(frozen=True, slots=True)
class Hello:
    """Who is there and what it will send; first on a stream, and once.

    Attributes:
        device: The name in the device's certificate.
        epoch: This boot's; frames of earlier ones may still come.
        bundle_id: The cloud's half that the device codes for (`Manifest.cloud_id`), 64 hexadecimal
            digits.
        codec_version: Of the payloads.
        streams: Names of this boot's sources, 1 to `STREAMS_MAX`, no two the same.
        wire_version: Of the contract, from 1.

    Raises:
        WireError: A part is out of its range.
    """

    device: str
    epoch: int
    bundle_id: str
    codec_version: int
    streams: tuple[str, ...]
    wire_version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        require_name("device", self.device)
        require_range("epoch", self.epoch, 0, UINT64_MAX)
        require_range("codec_version", self.codec_version, 0, UINT32_MAX)
        require_range("wire_version", self.wire_version, 1, UINT32_MAX)
        if not _BUNDLE_ID.fullmatch(self.bundle_id):
            raise WireError(
                f"bundle_id: expected 64 hexadecimal digits, got {self.bundle_id[:80]!a}"
            )
        require_range("number of streams", len(self.streams), 1, STREAMS_MAX)
        for stream in self.streams:
            require_name("stream", stream)
        if len(set(self.streams)) < len(self.streams):
            raise WireError("streams: expected names that differ, got one twice")


_BUNDLE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Ack:
    """Results that are stored on the device: it won't ask again, the cloud may forget them.

    Attributes:
        epoch: Of all of these frames.
        seqs: Their numbers, at most `ACK_SEQS_MAX`.

    Raises:
        WireError: A part is out of its range.
    """

    epoch: int
    seqs: tuple[int, ...]

    def __post_init__(self) -> None:
        require_range("epoch", self.epoch, 0, UINT64_MAX)
        require_range("number of seqs", len(self.seqs), 0, ACK_SEQS_MAX)
        for seq in self.seqs:
            require_range("seq", seq, 0, UINT64_MAX)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The stream is open.

    Attributes:
        payload_bytes_max: A larger payload is refused.
        thumbnail_bytes_max: Likewise; 0 for none at all.
        references: Frames with `keep` that the cloud keeps on this stream, the latest; 0 for none.
        wire_version: The cloud's.

    Raises:
        WireError: A part is out of its range.
    """

    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    thumbnail_bytes_max: int = THUMBNAIL_BYTES_MAX
    references: int = 0
    wire_version: int = WIRE_VERSION

    def __post_init__(self) -> None:
        require_range("payload_bytes_max", self.payload_bytes_max, 1, PAYLOAD_BYTES_MAX)
        require_range("thumbnail_bytes_max", self.thumbnail_bytes_max, 0, THUMBNAIL_BYTES_MAX)
        require_range("references", self.references, 0, UINT32_MAX)
        require_range("wire_version", self.wire_version, 1, UINT32_MAX)


@dataclass(frozen=True, slots=True)
class Credit:
    """How much the device may have sent on this stream in all, since the Welcome.

    Totals never shrink, and a device that waits for no answer has credit for one frame of any legal
    size.

    Attributes:
        frames: Frames.
        cost_bytes: Their `cost_bytes`, added up.

    Raises:
        WireError: A part is out of its range.
    """

    frames: int
    cost_bytes: int

    def __post_init__(self) -> None:
        require_range("frames", self.frames, 0, UINT64_MAX)
        require_range("cost_bytes", self.cost_bytes, 0, UINT64_MAX)

    def allows(self, frames: int, cost_bytes: int) -> bool:
        """Whether a device may have sent this much in all."""
        return frames <= self.frames and cost_bytes <= self.cost_bytes


class RefusalStatus(Enum):
    """Why the cloud does not take a message or a stream; the values are those of the wire."""

    BAD_MESSAGE = features_pb2.REFUSAL_STATUS_BAD_MESSAGE
    WIRE_VERSION = features_pb2.REFUSAL_STATUS_WIRE_VERSION
    CODEC_VERSION = features_pb2.REFUSAL_STATUS_CODEC_VERSION
    UNKNOWN_BUNDLE = features_pb2.REFUSAL_STATUS_UNKNOWN_BUNDLE
    WRONG_DEVICE = features_pb2.REFUSAL_STATUS_WRONG_DEVICE
    FULL = features_pb2.REFUSAL_STATUS_FULL
    GOING_AWAY = features_pb2.REFUSAL_STATUS_GOING_AWAY
    REPLACED = features_pb2.REFUSAL_STATUS_REPLACED


@dataclass(frozen=True, slots=True)
class Refusal:
    """The cloud does not take a message (BAD_MESSAGE), or ends the stream (all others).

    Attributes:
        status: Why.
        detail: One line for people.
        retry_after_ms: When to come back; 0: only after something has changed.

    Raises:
        WireError: A part is out of its range.
    """

    status: RefusalStatus
    detail: str = ""
    retry_after_ms: int = 0

    def __post_init__(self) -> None:
        require_detail("detail", self.detail)
        require_range("retry_after_ms", self.retry_after_ms, 0, UINT32_MAX)
