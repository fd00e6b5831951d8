import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparsight.detections import Detections
from sparsight.errors import DataError
from sparsight.wire import FrameResult, FrameStatus, Telemetry
from sparsight_cloud.serving.dispatch import Answered, Refused
from sparsight_cloud.serving.records import Record, from_line, key_of_line, to_line

from .hashes import BUNDLE, a_frame, answer

NAMES = st.text(st.characters(), min_size=1, max_size=20).filter(str.isprintable)
UINT64 = st.integers(0, 2**64 - 1)


@st.composite
def objects(draw: st.DrawFn) -> Detections:
    n = draw(st.integers(0, 6))
    pixels = st.floats(width=32, allow_nan=False, allow_infinity=False)
    return Detections(
        xyxy=draw(hnp.arrays(np.float32, (n, 4), elements=pixels)),
        scores=draw(hnp.arrays(np.float32, n, elements=st.floats(0, 1, width=32))),
        labels=draw(hnp.arrays(np.int64, n, elements=st.integers(0, 2**32 - 1))),
    )


def equal(a: Record, b: Record) -> bool:
    arrays = ("xyxy", "scores", "labels")
    found = ((getattr(r.result.detections, name) for name in arrays) for r in (a, b))
    return all(map(np.array_equal, *found)) and without_objects(a) == without_objects(b)


def without_objects(record: Record) -> Record:
    # Compared by identity, and so the same on both sides.
    return replace(record, result=replace(record.result, detections=NOTHING))


NOTHING = Detections.empty()


@given(NAMES, UINT64, UINT64, objects(), st.integers(0, 2**63 - 1))
def test_a_line_gives_the_record_back_to_the_bit(
    device: str, epoch: int, seq: int, found: Detections, now_unix_ns: int
) -> None:
    frame = a_frame(seq, device=device, epoch=epoch, payload=b"x")
    record = Record.of(frame, Answered(found, BUNDLE), now_unix_ns)
    line = to_line(record)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert equal(from_line(line), record)
    assert key_of_line(line) == record.result.key


def test_a_refusal_has_a_line_too() -> None:
    refused = Refused(FrameStatus.BAD_PAYLOAD, "damaged\nin the middle")
    record = from_line(to_line(Record.of(a_frame(), refused, 7)))
    assert record.result.status is FrameStatus.BAD_PAYLOAD
    assert record.result.detail == "damaged in the middle"
    assert record.bundle_id == "" and len(record.result.detections) == 0


def test_a_line_reads_as_it_says() -> None:
    frame = a_frame(5)
    raw = json.loads(to_line(Record.of(frame, answer(frame), 7)))
    assert raw["device"] == "drone-1" and raw["seq"] == 5 and raw["status"] == "ok"
    assert raw["frame_hw"] == [1080, 1920] and raw["telemetry"] is None
    assert len(raw["xyxy"]) == len(raw["scores"]) == len(raw["labels"])


def test_telemetry_without_the_unknown() -> None:
    moved = replace(a_frame(), telemetry=Telemetry(lat_deg=48.1))
    line = to_line(Record.of(moved, answer(moved), 7))
    assert json.loads(line)["telemetry"] == {"lat_deg": 48.1}
    assert from_line(line).telemetry == Telemetry(lat_deg=48.1)


@pytest.mark.parametrize("line", [b"", b"{}\n", b"[1]\n", b'{"device": 3}\n', b"\x00\x00\n", b"{"])
def test_what_is_no_line_is_said_so(line: bytes) -> None:
    with pytest.raises(DataError, match="no line of results"):
        from_line(line)
    with pytest.raises(DataError, match="no line of results"):
        key_of_line(line)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_a_data_error(data: bytes) -> None:
    try:
        record = from_line(data)
    except DataError:
        return
    assert isinstance(record.result, FrameResult)
