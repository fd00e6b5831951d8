import math
from typing import Any

import numpy as np
import pytest

from sparsight.detections import Detections
from sparsight.errors import SparsightError
from sparsight.geometry import Letterbox
from sparsight.wire import (
    ACK_SEQS_MAX,
    DETAIL_MAX,
    DETECTIONS_MAX,
    PAYLOAD_BYTES_MAX,
    STREAMS_MAX,
    THUMBNAIL_BYTES_MAX,
    Ack,
    CloudTimes,
    Credit,
    FrameFeatures,
    FrameKey,
    FrameResult,
    FrameStatus,
    Hello,
    Refusal,
    RefusalStatus,
    Telemetry,
    Welcome,
    WireError,
)

KEY = FrameKey("drone-1", 1, 2)
HELLO: dict[str, Any] = {
    "device": "drone-1",
    "epoch": 1,
    "bundle_id": "0" * 64,
    "codec_version": 1,
    "streams": ("cam",),
}
FRAME: dict[str, Any] = {
    "key": KEY,
    "stream": "cam",
    "captured_unix_ns": 1,
    "letterbox": Letterbox.fit((1080, 1920), 1536),
    "rate": 0,
    "payload": b"x",
}


def one_object(x1: float = 1, score: float = 0.5, label: int = 0) -> Detections:
    return Detections(
        xyxy=np.array([[0, 0, x1, 1]], np.float32),
        scores=np.array([score], np.float32),
        labels=np.array([label], np.int64),
    )


def test_a_wire_error_is_a_users_error() -> None:
    assert issubclass(WireError, SparsightError)


@pytest.mark.parametrize(
    "key",
    [
        ("", 0, 0),
        ("x" * 129, 0, 0),
        ("x\n", 0, 0),
        ("\x1b[2J", 0, 0),
        ("x", -1, 0),
        ("x", 0, 2**64),
    ],
)
def test_keys_out_of_range_are_refused(key: tuple[str, int, int]) -> None:
    with pytest.raises(WireError):
        FrameKey(*key)


@pytest.mark.parametrize(
    "found",
    [
        one_object(x1=math.nan),
        one_object(x1=math.inf),
        one_object(score=1.5),
        one_object(score=-1),
        one_object(score=math.nan),
        one_object(label=-1),
        one_object(label=2**32),
    ],
)
def test_objects_out_of_range_are_refused(found: Detections) -> None:
    with pytest.raises(WireError, match="detections"):
        FrameResult(KEY, FrameStatus.OK, found)


def test_too_many_objects_are_refused() -> None:
    n = DETECTIONS_MAX + 1
    many = Detections(np.zeros((n, 4), np.float32), np.zeros(n, np.float32), np.zeros(n, np.int64))
    with pytest.raises(WireError, match=str(n)):
        FrameResult(KEY, FrameStatus.OK, many)


def test_only_a_good_frame_has_objects() -> None:
    with pytest.raises(WireError, match="REFUSED"):
        FrameResult(KEY, FrameStatus.REFUSED, one_object())


@pytest.mark.parametrize(
    "changes",
    [
        {"detail": "x" * (DETAIL_MAX + 1)},
        {"retry_after_ms": -1},
        {"retry_after_ms": 2**32},
    ],
)
def test_results_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        FrameResult(KEY, FrameStatus.UNAVAILABLE, Detections.empty(), **changes)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_times_are_finite_and_not_negative(value: float) -> None:
    with pytest.raises(WireError, match="compute_ms"):
        CloudTimes(0, value, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lat_deg", 90.1),
        ("lon_deg", -181.0),
        ("alt_m", math.nan),
        ("alt_m", math.inf),
        ("yaw_deg", 361.0),
        ("pitch_deg", -math.inf),
        ("roll_deg", 1e300),
    ],
)
def test_telemetry_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(WireError, match=name):
        Telemetry(**{name: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": ""},
        {"stream": "a\tb"},
        {"captured_unix_ns": -1},
        {"captured_unix_ns": 2**63},
        {"rate": 256},
        {"payload": bytes(PAYLOAD_BYTES_MAX + 1)},
        {"thumbnail": bytes(THUMBNAIL_BYTES_MAX + 1)},
        {"reference": FRAME["key"]},
        {"reference": FrameKey("another", 1, 2)},
    ],
)
def test_frames_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        FrameFeatures(**(FRAME | changes))


def test_the_largest_frame_is_taken() -> None:
    payload, thumbnail = bytes(PAYLOAD_BYTES_MAX), bytes(THUMBNAIL_BYTES_MAX)
    frame = FrameFeatures(**(FRAME | {"payload": payload, "thumbnail": thumbnail}))
    assert frame.cost_bytes == PAYLOAD_BYTES_MAX + THUMBNAIL_BYTES_MAX


@pytest.mark.parametrize(
    "box",
    [
        Letterbox((0, 1920), (864, 1536), (864, 1536)),  # no frame
        Letterbox((1080, 70_000), (24, 1536), (32, 1536)),  # a frame of absurd width
        Letterbox((1080, 1920), (864, 1536), (864, 1535)),  # no multiple of 32
        Letterbox((1080, 1920), (864, 1536), (864, 1504)),  # sticks out
        Letterbox((1080, 1920), (864, 1536), (864, 32_768)),  # an input of absurd width
        Letterbox((1080, 1920), (864, 864), (864, 864)),  # squeezed
        Letterbox((1080, 1920), (0, 0), (32, 32)),  # nothing in it
    ],
)
def test_letterboxes_that_are_none_are_refused(box: Letterbox) -> None:
    with pytest.raises(WireError, match="letterbox"):
        FrameFeatures(**(FRAME | {"letterbox": box}))


def test_an_input_of_a_fixed_shape_may_be_larger_than_the_frame_needs() -> None:
    box = Letterbox((1080, 1920), (864, 1536), (1536, 1536))
    assert FrameFeatures(**(FRAME | {"letterbox": box})).letterbox == box


@pytest.mark.parametrize(
    "changes",
    [
        {"device": ""},
        {"epoch": -1},
        {"bundle_id": "0" * 63},
        {"bundle_id": "G" * 64},
        {"bundle_id": "0" * 64 + "\n"},
        {"codec_version": 2**32},
        {"wire_version": 0},
        {"streams": ()},
        {"streams": ("a", "a")},
        {"streams": ("a", "")},
        {"streams": tuple(map(str, range(STREAMS_MAX + 1)))},
    ],
)
def test_hellos_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        Hello(**(HELLO | changes))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Ack, (-1, ())),
        (Ack, (0, (2**64,))),
        (Ack, (0, tuple(range(ACK_SEQS_MAX + 1)))),
        (Welcome, (0, 0)),
        (Welcome, (PAYLOAD_BYTES_MAX + 1, 0)),
        (Welcome, (1, THUMBNAIL_BYTES_MAX + 1)),
        (Credit, (-1, 0)),
        (Credit, (0, 2**64)),
        (Refusal, (RefusalStatus.FULL, "x" * (DETAIL_MAX + 1))),
        (Refusal, (RefusalStatus.FULL, "", -1)),
    ],
)
def test_the_rest_of_a_stream_out_of_range_is_refused(
    kind: Any, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(WireError):
        kind(*arguments)


def test_credit_is_spent_in_frames_and_in_bytes() -> None:
    credit = Credit(frames=2, cost_bytes=100)
    assert credit.allows(2, 100)
    assert not credit.allows(3, 100)
    assert not credit.allows(2, 101)


def test_every_status_says_what_the_device_does_next() -> None:
    for status in FrameStatus:
        assert status.done + status.again + status.held == 1
