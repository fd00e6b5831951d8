from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparsight.detections import Detections
from sparsight.wire import (
    DETECTIONS_MAX,
    DEVICE_NAME_MAX,
    FrameKey,
    FrameResult,
    FrameStatus,
    WireError,
    pack_result,
    unpack_result,
)
from sparsight_proto.v1 import detections_pb2

UINT64 = st.integers(0, 2**64 - 1)
# No surrogates: a protobuf string is UTF-8 and they have none.
TEXT = st.characters(exclude_categories=["Cs"])


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    n = draw(st.integers(0, 8))
    pixels = st.floats(width=32, allow_nan=False, allow_infinity=False)
    return Detections(
        xyxy=draw(hnp.arrays(np.float32, (n, 4), elements=pixels)),
        scores=draw(hnp.arrays(np.float32, n, elements=st.floats(0, 1, width=32))),
        labels=draw(hnp.arrays(np.int64, n, elements=st.integers(0, 2**32 - 1))),
    )


KEYS = st.builds(
    FrameKey,
    device=st.text(TEXT, min_size=1, max_size=DEVICE_NAME_MAX),
    epoch=UINT64,
    seq=UINT64,
)
RESULTS = st.builds(
    FrameResult,
    key=KEYS,
    status=st.sampled_from(FrameStatus),
    detections=detections(),
    detail=st.text(TEXT, max_size=40),
)


def same(a: FrameResult, b: FrameResult) -> bool:
    return (a.key, a.status, a.detail) == (b.key, b.status, b.detail) and all(
        np.array_equal(getattr(a.detections, name), getattr(b.detections, name))
        for name in ("xyxy", "scores", "labels")
    )


def one_object(**changes: float) -> Detections:
    score, label = changes.get("score", 0.5), int(changes.get("label", 0))
    return Detections(
        xyxy=np.array([[0, 0, changes.get("x1", 1), 1]], np.float32),
        scores=np.array([score], np.float32),
        labels=np.array([label], np.int64),
    )


def result_of(found: Detections) -> FrameResult:
    return FrameResult(FrameKey("drone-1", 1, 2), FrameStatus.OK, found)


@given(RESULTS)
def test_round_trip_to_the_bit(result: FrameResult) -> None:
    assert same(unpack_result(pack_result(result)), result)


@given(st.binary(max_size=64))
def test_any_bytes_give_a_result_or_a_wire_error(data: bytes) -> None:
    with suppress(WireError):
        unpack_result(data)


@given(RESULTS, st.data())
def test_truncated_messages_never_crash(result: FrameResult, data: st.DataObject) -> None:
    packed = pack_result(result)
    cut = data.draw(st.integers(0, len(packed)))
    with suppress(WireError):
        unpack_result(packed[:cut])


@pytest.mark.parametrize("changes", [{"x1": np.nan}, {"x1": np.inf}, {"score": 1.5}, {"score": -1}])
def test_numbers_out_of_range_are_refused_on_arrival(changes: dict[str, float]) -> None:
    with pytest.raises(WireError):
        unpack_result(pack_result(result_of(one_object(**changes))))


@pytest.mark.parametrize("label", [-1, 2**32])
def test_labels_the_wire_cannot_carry_are_refused(label: int) -> None:
    with pytest.raises(WireError, match="label"):
        pack_result(result_of(one_object(label=label)))


@pytest.mark.parametrize("key", [("", 0, 0), ("x" * 129, 0, 0), ("x", -1, 0), ("x", 0, 2**64)])
def test_keys_out_of_range_are_refused(key: tuple[str, int, int]) -> None:
    with pytest.raises(WireError):
        FrameKey(*key)


def test_too_many_objects_are_refused_both_ways() -> None:
    n = DETECTIONS_MAX + 1
    many = Detections(np.zeros((n, 4), np.float32), np.zeros(n, np.float32), np.zeros(n, np.int64))
    with pytest.raises(WireError, match=str(n)):
        pack_result(result_of(many))
    message = detections_pb2.FrameResult.FromString(pack_result(result_of(Detections.empty())))
    message.detections.extend([detections_pb2.Detection()] * n)
    with pytest.raises(WireError, match=str(n)):
        unpack_result(message.SerializeToString())


@pytest.mark.parametrize("status", [0, 99])
def test_an_unknown_status_is_refused(status: int) -> None:
    message = detections_pb2.FrameResult.FromString(pack_result(result_of(Detections.empty())))
    message.status = status  # type: ignore[assignment]
    with pytest.raises(WireError, match="status"):
        unpack_result(message.SerializeToString())
