"""The contract between device and cloud: values, their bounds, and their bytes.

    values (frozen dataclasses)              bytes, and back
      results  FrameKey FrameResult            downward  what the cloud says
      frames   FrameFeatures Telemetry         upward    what a device says
      session  Hello Welcome Credit Ack Refusal

Only this package sees protobuf. gRPC carries its bytes: both halves open their calls by the method
names below and put `pack_...` and `unpack_...` around them.
"""

from sparsight.errors import WireError
from sparsight.wire.downward import (
    CloudMessage,
    pack_cloud_message,
    pack_result,
    unpack_cloud_message,
    unpack_result,
)
from sparsight.wire.frames import FrameFeatures, Telemetry
from sparsight.wire.limits import (
    ACK_SEQS_MAX,
    DETAIL_MAX,
    DETECTIONS_MAX,
    FRAME_BYTES_MAX,
    NAME_MAX,
    PAYLOAD_BYTES_MAX,
    RATE_MAX,
    RESULT_BYTES_MAX,
    STREAMS_MAX,
    THUMBNAIL_BYTES_MAX,
    WIRE_VERSION,
)
from sparsight.wire.results import CloudTimes, FrameKey, FrameResult, FrameStatus
from sparsight.wire.session import Ack, Credit, Hello, Refusal, RefusalStatus, Welcome
from sparsight.wire.upward import (
    BadFrameError,
    DeviceMessage,
    pack_device_message,
    pack_frame,
    unpack_device_message,
    unpack_frame,
)

STREAM_METHOD = "/sparsight.v1.Devices/Stream"
"""gRPC's name of the bidirectional call: device messages up, cloud messages down."""

DETECT_METHOD = "/sparsight.v1.Devices/Detect"
"""gRPC's name of the unary call: one frame up, its result down."""

RETRY_AFTER_METADATA = "retry-after-ms"
"""Trailing metadata of a call that ended for lack of room: when to come back."""

__all__ = [
    "ACK_SEQS_MAX",
    "DETAIL_MAX",
    "DETECTIONS_MAX",
    "DETECT_METHOD",
    "FRAME_BYTES_MAX",
    "NAME_MAX",
    "PAYLOAD_BYTES_MAX",
    "RATE_MAX",
    "RESULT_BYTES_MAX",
    "RETRY_AFTER_METADATA",
    "STREAMS_MAX",
    "STREAM_METHOD",
    "THUMBNAIL_BYTES_MAX",
    "WIRE_VERSION",
    "Ack",
    "BadFrameError",
    "CloudMessage",
    "CloudTimes",
    "Credit",
    "DeviceMessage",
    "FrameFeatures",
    "FrameKey",
    "FrameResult",
    "FrameStatus",
    "Hello",
    "Refusal",
    "RefusalStatus",
    "Telemetry",
    "Welcome",
    "WireError",
    "pack_cloud_message",
    "pack_device_message",
    "pack_frame",
    "pack_result",
    "unpack_cloud_message",
    "unpack_device_message",
    "unpack_frame",
    "unpack_result",
]
