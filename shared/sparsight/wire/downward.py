"""What the cloud says, to bytes and back.

    Welcome | FrameResult | Credit | Refusal  ──pack_cloud_message──>  bytes
                                 the same  <──unpack_cloud_message──
    FrameResult  ──pack_result──>  bytes  ──unpack_result──>  FrameResult

Boxes, scores and times travel as 32-bit floats. Boxes and scores are such already, so what comes
out is what went in, to the bit.
"""

import numpy as np

from sparsight.detections import Detections
from sparsight.errors import WireError
from sparsight.wire.envelope import open_envelope, parse
from sparsight.wire.keys import key_message, key_value
from sparsight.wire.limits import (
    CONTROL_BYTES_MAX,
    DETECTIONS_MAX,
    RESULT_BYTES_MAX,
    require_range,
    require_size,
)
from sparsight.wire.results import CloudTimes, FrameResult, FrameStatus
from sparsight.wire.session import Credit, Refusal, RefusalStatus, Welcome
from sparsight_proto.v1 import detections_pb2, features_pb2

CloudMessage = Welcome | FrameResult | Credit | Refusal
"""What the cloud says on a device's stream."""


def pack_cloud_message(message: CloudMessage) -> bytes:
    """Serialise what the cloud says on a stream."""
    match message:
        case FrameResult():
            out = features_pb2.CloudMessage(result=_result_message(message))
        case Credit():
            out = features_pb2.CloudMessage(
                credit=features_pb2.Credit(frames=message.frames, bytes=message.cost_bytes)
            )
        case Welcome():
            out = features_pb2.CloudMessage(
                welcome=features_pb2.Welcome(
                    wire_version=message.wire_version,
                    payload_bytes_max=message.payload_bytes_max,
                    thumbnail_bytes_max=message.thumbnail_bytes_max,
                    references=message.references,
                )
            )
        case Refusal():
            out = features_pb2.CloudMessage(
                refusal=features_pb2.Refusal(
                    status=message.status.value,
                    detail=message.detail,
                    retry_after_ms=message.retry_after_ms,
                )
            )
    return out.SerializeToString()


def unpack_cloud_message(data: bytes) -> CloudMessage:
    """Parse what the cloud says on a stream.

    Raises:
        WireError: The bytes are no such message, or a part is missing or out of range.
    """
    kind, body = open_envelope("cloud message", data, _LIMITS_BYTES)
    if kind == features_pb2.CloudMessage.RESULT_FIELD_NUMBER:
        return unpack_result(body)
    if kind == features_pb2.CloudMessage.CREDIT_FIELD_NUMBER:
        credit = parse(features_pb2.Credit, body)
        return Credit(credit.frames, credit.bytes)
    if kind == features_pb2.CloudMessage.WELCOME_FIELD_NUMBER:
        welcome = parse(features_pb2.Welcome, body)
        return Welcome(
            payload_bytes_max=welcome.payload_bytes_max,
            thumbnail_bytes_max=welcome.thumbnail_bytes_max,
            references=welcome.references,
            wire_version=welcome.wire_version,
        )
    refusal = parse(features_pb2.Refusal, body)
    try:
        status = RefusalStatus(refusal.status)
    except ValueError as error:
        raise WireError(
            f"refusal: status {refusal.status} is not one this version knows"
        ) from error
    return Refusal(status, refusal.detail, refusal.retry_after_ms)


def pack_result(result: FrameResult) -> bytes:
    """Serialise the answer of the unary call."""
    return _result_message(result).SerializeToString()


def unpack_result(data: bytes | memoryview) -> FrameResult:
    """Parse the answer of the unary call.

    Raises:
        WireError: The bytes are no such message, or something in it is missing or out of range.
    """
    require_size("result", len(data), RESULT_BYTES_MAX)
    message = parse(detections_pb2.FrameResult, data)
    require_range("number of detections", len(message.detections), 0, DETECTIONS_MAX)
    try:
        status = FrameStatus(message.status)
    except ValueError as error:
        raise WireError(f"result: status {message.status} is not one this version knows") from error
    times = None
    if message.HasField("times"):
        sent = message.times
        times = CloudTimes(sent.queue_ms, sent.compute_ms, sent.commit_ms)
    return FrameResult(
        key=key_value(message.key),
        status=status,
        detections=_detections(message),
        detail=message.detail,
        times=times,
        retry_after_ms=message.retry_after_ms,
    )


_LIMITS_BYTES = {
    features_pb2.CloudMessage.WELCOME_FIELD_NUMBER: CONTROL_BYTES_MAX,
    features_pb2.CloudMessage.RESULT_FIELD_NUMBER: RESULT_BYTES_MAX,
    features_pb2.CloudMessage.CREDIT_FIELD_NUMBER: CONTROL_BYTES_MAX,
    features_pb2.CloudMessage.REFUSAL_FIELD_NUMBER: CONTROL_BYTES_MAX,
}


def _result_message(result: FrameResult) -> detections_pb2.FrameResult:
    message = detections_pb2.FrameResult(
        key=key_message(result.key),
        status=result.status.value,
        detail=result.detail,
        retry_after_ms=result.retry_after_ms,
    )
    if result.times is not None:
        t = result.times
        message.times.queue_ms, message.times.compute_ms = t.queue_ms, t.compute_ms
        message.times.commit_ms = t.commit_ms
    found = result.detections
    for (x0, y0, x1, y1), score, label in zip(
        found.xyxy.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
    ):
        box = detections_pb2.Box(x0=x0, y0=y0, x1=x1, y1=y1)
        message.detections.add(box=box, score=score, label=label)
    return message


def _detections(message: detections_pb2.FrameResult) -> Detections:
    """The objects of a message."""
    found = message.detections
    rows = [(d.box.x0, d.box.y0, d.box.x1, d.box.y1, d.score) for d in found]
    values = np.array(rows, np.float32).reshape(-1, 5)
    labels = np.array([d.label for d in found], np.int64)
    return Detections(xyxy=values[:, :4].copy(), scores=values[:, 4].copy(), labels=labels)
