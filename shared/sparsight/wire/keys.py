"""A frame's key to its message and back."""

from sparsight.wire.results import FrameKey
from sparsight_proto.v1 import detections_pb2


def key_message(key: FrameKey) -> detections_pb2.FrameKey:
    """The message of a key."""
    return detections_pb2.FrameKey(device=key.device, epoch=key.epoch, seq=key.seq)


def key_value(message: detections_pb2.FrameKey) -> FrameKey:
    """The key in a message.

    Raises:
        WireError: A part is missing or out of range.
    """
    return FrameKey(message.device, message.epoch, message.seq)
