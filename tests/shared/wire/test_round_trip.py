from typing import Any

import pytest
from hypothesis import given

from sparsight.wire import (
    DETECT_METHOD,
    STREAM_METHOD,
    CloudMessage,
    DeviceMessage,
    FrameFeatures,
    FrameResult,
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

from .strategies import CLOUD_MESSAGES, DEVICE_MESSAGES, FRAMES, results, same

# beartype picks the item of a tuple to look at by `random`, inside hypothesis' strategies.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@given(results())
def test_results_come_back_to_the_bit(result: FrameResult) -> None:
    assert same(unpack_result(pack_result(result)), result)


@given(FRAMES)
def test_frames_come_back(frame: FrameFeatures) -> None:
    assert unpack_frame(pack_frame(frame)) == frame


@given(DEVICE_MESSAGES)
def test_what_a_device_says_comes_back(message: DeviceMessage) -> None:
    assert unpack_device_message(pack_device_message(message)) == message


@given(CLOUD_MESSAGES)
def test_what_the_cloud_says_comes_back(message: CloudMessage) -> None:
    assert same(unpack_cloud_message(pack_cloud_message(message)), message)


@given(DEVICE_MESSAGES)
def test_protobuf_reads_a_device_message_as_we_do(message: Any) -> None:
    """The envelope that is read by hand is protobuf's own."""
    data = pack_device_message(message)
    parsed = features_pb2.DeviceMessage.FromString(data)
    kind = {"Hello": "hello", "FrameFeatures": "frame", "Ack": "ack"}[type(message).__name__]
    assert parsed.WhichOneof("kind") == kind
    assert parsed.SerializeToString() == data


def test_the_method_names_are_those_of_the_contract() -> None:
    service = features_pb2.DESCRIPTOR.services_by_name["Devices"]
    names = {f"/{service.full_name}/{method.name}" for method in service.methods}
    assert names == {STREAM_METHOD, DETECT_METHOD}


def test_unary_and_stream_share_the_values() -> None:
    methods = features_pb2.DESCRIPTOR.services_by_name["Devices"].methods_by_name
    assert methods["Detect"].input_type is features_pb2.FrameFeatures.DESCRIPTOR
    assert methods["Detect"].output_type is detections_pb2.FrameResult.DESCRIPTOR
