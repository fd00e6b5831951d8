"""What a device says, to bytes and back.

Hello | FrameFeatures | Ack  ──pack_device_message──>  bytes  ──unpack_device_message──>  the same
FrameFeatures                ──pack_frame───────────>  bytes  ──unpack_frame───────────>  the same
"""

from typing import Literal, get_args

from sparsight.errors import WireError
from sparsight.geometry import Letterbox
from sparsight.wire.envelope import open_envelope, parse
from sparsight.wire.frames import FrameFeatures, Telemetry
from sparsight.wire.keys import key_message, key_value
from sparsight.wire.limits import CONTROL_BYTES_MAX, FRAME_BYTES_MAX, require_size
from sparsight.wire.results import FrameKey
from sparsight.wire.session import Ack, Hello
from sparsight_proto.v1 import features_pb2

DeviceMessage = Hello | FrameFeatures | Ack
"""What a device says on its stream."""


class BadFrameError(WireError):
    """A frame whose key could be read and nothing else.

    Attributes:
        key: The frame, so that it can be refused by name.
    """

    def __init__(self, key: FrameKey, why: str) -> None:
        super().__init__(why)
        self.key = key


def pack_device_message(message: DeviceMessage) -> bytes:
    """Serialise what a device says on its stream."""
    match message:
        case FrameFeatures():
            out = features_pb2.DeviceMessage(frame=_frame_message(message))
        case Hello():
            out = features_pb2.DeviceMessage(
                hello=features_pb2.Hello(
                    wire_version=message.wire_version,
                    device=message.device,
                    epoch=message.epoch,
                    bundle_id=message.bundle_id,
                    codec_version=message.codec_version,
                    streams=message.streams,
                )
            )
        case Ack():
            out = features_pb2.DeviceMessage(
                ack=features_pb2.Ack(epoch=message.epoch, seqs=message.seqs)
            )
    return out.SerializeToString()


def unpack_device_message(data: bytes) -> DeviceMessage:
    """Parse what a device says on its stream.

    Raises:
        BadFrameError: A frame with a key, but with a part that is missing or out of range.
        WireError: The bytes are no such message, or a part is missing or out of range.
    """
    kind, body = open_envelope("device message", data, _LIMITS_BYTES)
    if kind == features_pb2.DeviceMessage.FRAME_FIELD_NUMBER:
        return unpack_frame(body)
    if kind == features_pb2.DeviceMessage.HELLO_FIELD_NUMBER:
        hello = parse(features_pb2.Hello, body)
        return Hello(
            device=hello.device,
            epoch=hello.epoch,
            bundle_id=hello.bundle_id,
            codec_version=hello.codec_version,
            streams=tuple(hello.streams),
            wire_version=hello.wire_version,
        )
    ack = parse(features_pb2.Ack, body)
    return Ack(ack.epoch, tuple(ack.seqs))


def pack_frame(frame: FrameFeatures) -> bytes:
    """Serialise a frame for the unary call."""
    return _frame_message(frame).SerializeToString()


def unpack_frame(data: bytes | memoryview) -> FrameFeatures:
    """Parse a frame of the unary call.

    Raises:
        BadFrameError: It has a key, but a part is missing or out of range.
        WireError: The bytes are no frame, or have no key.
    """
    require_size("frame", len(data), FRAME_BYTES_MAX)
    message = parse(features_pb2.FrameFeatures, data)
    key = key_value(message.key)
    try:
        return _frame_value(message, key)
    except WireError as error:
        raise BadFrameError(key, str(error)) from error


_LIMITS_BYTES = {
    features_pb2.DeviceMessage.HELLO_FIELD_NUMBER: CONTROL_BYTES_MAX,
    features_pb2.DeviceMessage.FRAME_FIELD_NUMBER: FRAME_BYTES_MAX,
    features_pb2.DeviceMessage.ACK_FIELD_NUMBER: CONTROL_BYTES_MAX,
}

_Known = Literal["lat_deg", "lon_deg", "alt_m", "yaw_deg", "pitch_deg", "roll_deg"]
_TELEMETRY: tuple[_Known, ...] = get_args(_Known)


def _frame_message(frame: FrameFeatures) -> features_pb2.FrameFeatures:
    box = frame.letterbox
    message = features_pb2.FrameFeatures(
        key=key_message(frame.key),
        stream=frame.stream,
        captured_unix_ns=frame.captured_unix_ns,
        letterbox=features_pb2.Letterbox(
            frame_h=box.frame_hw[0],
            frame_w=box.frame_hw[1],
            scaled_h=box.scaled_hw[0],
            scaled_w=box.scaled_hw[1],
            input_h=box.input_hw[0],
            input_w=box.input_hw[1],
        ),
        rate=frame.rate,
        payload=frame.payload,
        thumbnail=frame.thumbnail,
        keep=frame.keep,
    )
    if (reference := frame.reference) is not None:
        message.reference.epoch, message.reference.seq = reference.epoch, reference.seq
        message.reference.SetInParent()
    if frame.telemetry is not None:
        known = {name: getattr(frame.telemetry, name) for name in _TELEMETRY}
        message.telemetry.CopyFrom(features_pb2.Telemetry(**known))
    return message


def _frame_value(message: features_pb2.FrameFeatures, key: FrameKey) -> FrameFeatures:
    box = message.letterbox
    telemetry = None
    if message.HasField("telemetry"):
        sent = message.telemetry
        known = {name: getattr(sent, name) for name in _TELEMETRY if sent.HasField(name)}
        telemetry = Telemetry(**known)
    reference = None
    if message.HasField("reference"):
        reference = FrameKey(key.device, message.reference.epoch, message.reference.seq)
    return FrameFeatures(
        key=key,
        stream=message.stream,
        captured_unix_ns=message.captured_unix_ns,
        letterbox=Letterbox(
            (box.frame_h, box.frame_w), (box.scaled_h, box.scaled_w), (box.input_h, box.input_w)
        ),
        rate=message.rate,
        payload=message.payload,
        telemetry=telemetry,
        thumbnail=message.thumbnail,
        keep=message.keep,
        reference=reference,
    )
