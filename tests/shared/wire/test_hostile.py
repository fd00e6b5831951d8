import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.wire import (
    DETECTIONS_MAX,
    FRAME_BYTES_MAX,
    Ack,
    BadFrameError,
    Credit,
    FrameFeatures,
    FrameKey,
    FrameResult,
    FrameStatus,
    Hello,
    WireError,
    pack_cloud_message,
    pack_device_message,
    pack_frame,
    pack_result,
    unpack_cloud_message,
    unpack_device_message,
    unpack_frame,
    unpack_result,
)
from sparsight_proto.v1 import detections_pb2, features_pb2

from .strategies import CLOUD_MESSAGES, DEVICE_MESSAGES

# beartype picks the item of a tuple to look at by `random`, inside hypothesis' strategies.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

KEY = FrameKey("drone-1", 1, 2)
FRAME = FrameFeatures(KEY, "cam", 1, Letterbox.fit((1080, 1920), 1536), 0, b"payload")
READERS: list[Callable[[bytes], Any]] = [
    unpack_device_message,
    unpack_cloud_message,
    unpack_frame,
    unpack_result,
]


@pytest.mark.parametrize("read", READERS)
@given(data=st.binary(max_size=100))
def test_any_bytes_give_a_value_or_a_wire_error(read: Callable[[bytes], Any], data: bytes) -> None:
    with suppress(WireError):
        read(data)


@given(DEVICE_MESSAGES, st.data())
@settings(max_examples=300)
def test_damaged_device_messages_give_a_value_or_a_wire_error(
    message: Any, data: st.DataObject
) -> None:
    with suppress(WireError):
        unpack_device_message(damaged(pack_device_message(message), data))


@given(CLOUD_MESSAGES, st.data())
@settings(max_examples=300)
def test_damaged_cloud_messages_give_a_value_or_a_wire_error(
    message: Any, data: st.DataObject
) -> None:
    with suppress(WireError):
        unpack_cloud_message(damaged(pack_cloud_message(message), data))


def damaged(packed: bytes, data: st.DataObject) -> bytes:
    """The bytes with a few of them changed, or cut off."""
    out = bytearray(packed)
    if out and data.draw(st.booleans()):
        del out[data.draw(st.integers(0, len(out) - 1)) :]
    for _ in range(data.draw(st.integers(0, 4)) if out else 0):
        out[data.draw(st.integers(0, len(out) - 1))] = data.draw(st.integers(0, 255))
    return bytes(out)


@given(DEVICE_MESSAGES, st.data())
def test_a_truncated_device_message_is_always_refused(message: Any, data: st.DataObject) -> None:
    packed = pack_device_message(message)
    with pytest.raises(WireError):
        unpack_device_message(packed[: data.draw(st.integers(0, len(packed) - 1))])


@pytest.mark.parametrize("read", [unpack_device_message, unpack_cloud_message])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\x7a\x00", "0x7a"),  # kind 15, which a newer version may have
        (b"\x08\x01", "0x08"),  # a number where a message should be
        (b"\x12", "length"),
        (b"\x12\xff\xff\xff\xff\xff\x01", "length"),  # longer than 32 bits
        (b"\x12\xff\xff\xff\x7f", "at most"),  # 268 MB announced, none there
        (b"\x12\x05abcd", "got 4"),
        (b"\x12\x00\x12\x00", "got 2"),  # two kinds in one message
    ],
)
def test_an_envelope_that_is_none_is_refused(
    read: Callable[[bytes], Any], data: bytes, says: str
) -> None:
    with pytest.raises(WireError, match=says):
        read(data)


def test_text_that_is_no_utf8_is_refused() -> None:
    good = pack_frame(FRAME)
    with pytest.raises(WireError, match="no FrameFeatures"):
        unpack_frame(good.replace(b"drone-1", b"drone-\xff"))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.ClearField("letterbox"),
        lambda m: m.ClearField("stream"),
        lambda m: setattr(m, "rate", 256),
        lambda m: setattr(m, "captured_unix_ns", 2**63),
        lambda m: setattr(m.letterbox, "input_w", 2**32 - 1),
        lambda m: setattr(m.telemetry, "lat_deg", float("nan")),
        lambda m: setattr(m, "thumbnail", bytes(300 << 10)),
    ],
)
def test_a_bad_frame_is_refused_by_its_name(
    change: Callable[[features_pb2.FrameFeatures], None],
) -> None:
    message = features_pb2.FrameFeatures.FromString(pack_frame(FRAME))
    change(message)
    with pytest.raises(BadFrameError) as error:
        unpack_frame(message.SerializeToString())
    assert error.value.key == KEY


def test_a_frame_without_a_key_is_refused_without_a_name() -> None:
    message = features_pb2.FrameFeatures.FromString(pack_frame(FRAME))
    message.ClearField("key")
    with pytest.raises(WireError, match="device") as error:
        unpack_frame(message.SerializeToString())
    assert not isinstance(error.value, BadFrameError)


@pytest.mark.parametrize("status", [0, 99])
def test_an_unknown_status_is_refused(status: int) -> None:
    result = FrameResult(KEY, FrameStatus.OK, Detections.empty())
    message = detections_pb2.FrameResult.FromString(pack_result(result))
    message.status = status  # type: ignore[assignment]
    with pytest.raises(WireError, match=f"status {status}"):
        unpack_result(message.SerializeToString())
    refusal = features_pb2.CloudMessage()
    refusal.refusal.status = status  # type: ignore[assignment]
    with pytest.raises(WireError, match=f"status {status}"):
        unpack_cloud_message(refusal.SerializeToString())


def test_too_many_objects_are_refused_on_arrival() -> None:
    message = detections_pb2.FrameResult.FromString(
        pack_result(FrameResult(KEY, FrameStatus.OK, Detections.empty()))
    )
    message.detections.extend([detections_pb2.Detection()] * (DETECTIONS_MAX + 1))
    with pytest.raises(WireError, match=str(DETECTIONS_MAX + 1)):
        unpack_result(message.SerializeToString())


def test_numbers_out_of_range_are_refused_on_arrival() -> None:
    message = detections_pb2.FrameResult.FromString(
        pack_result(FrameResult(KEY, FrameStatus.OK, Detections.empty()))
    )
    message.detections.add(score=2)
    with pytest.raises(WireError, match="scores"):
        unpack_result(message.SerializeToString())


def test_a_later_field_is_no_error() -> None:
    """A newer device may say more than this version knows."""
    unknown = b"\xd2\x3e\x03new"  # field 1002, a string
    assert unpack_frame(pack_frame(FRAME) + unknown) == FRAME


@pytest.mark.parametrize(
    ("read", "bomb"),
    [
        (unpack_device_message, b"\x1a" + b"\x80\x80\x80\x04" + b"\x10\x01" * (4 << 20)),  # an Ack
        (unpack_device_message, b"\x0a" + b"\x80\x80\x80\x04" + b"\x32\x00" * (4 << 20)),  # a Hello
        (unpack_cloud_message, b"\x12" + b"\x80\x80\x80\x04" + b"\x1a\x00" * (4 << 20)),  # a result
        (unpack_frame, bytes(FRAME_BYTES_MAX + 1)),
        (unpack_result, bytes(2 << 20)),
    ],
)
def test_a_large_message_is_refused_before_it_is_parsed(
    read: Callable[[bytes], Any], bomb: bytes
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="at most"):
            read(bomb)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 20


def test_kinds_are_told_apart() -> None:
    hello = Hello("drone-1", 1, "0" * 64, 1, ("cam",))
    for message in (hello, FRAME, Ack(1, (1, 2))):
        assert type(unpack_device_message(pack_device_message(message))) is type(message)
    assert unpack_cloud_message(pack_cloud_message(Credit(1, 2))) == Credit(1, 2)
