"""Values that may travel, for hypothesis to draw from."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.wire import (
    DETAIL_MAX,
    NAME_MAX,
    PAYLOAD_BYTES_MAX,
    RATE_MAX,
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
)

UINT32 = st.integers(0, 2**32 - 1)
UINT64 = st.integers(0, 2**64 - 1)
# No surrogates: a protobuf string is UTF-8 and they have none.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=DETAIL_MAX)
NAMES = st.text(st.characters(), min_size=1, max_size=NAME_MAX).filter(str.isprintable)
KEYS = st.builds(FrameKey, device=NAMES, epoch=UINT64, seq=UINT64)
MILLISECONDS = st.floats(0, 1e9, width=32)
TIMES = st.builds(
    CloudTimes, queue_ms=MILLISECONDS, compute_ms=MILLISECONDS, commit_ms=MILLISECONDS
)


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    n = draw(st.integers(0, 8))
    pixels = st.floats(width=32, allow_nan=False, allow_infinity=False)
    return Detections(
        xyxy=draw(hnp.arrays(np.float32, (n, 4), elements=pixels)),
        scores=draw(hnp.arrays(np.float32, n, elements=st.floats(0, 1, width=32))),
        labels=draw(hnp.arrays(np.int64, n, elements=UINT32)),
    )


@st.composite
def results(draw: st.DrawFn) -> FrameResult:
    status = draw(st.sampled_from(FrameStatus))
    return FrameResult(
        key=draw(KEYS),
        status=status,
        detections=draw(detections()) if status is FrameStatus.OK else Detections.empty(),
        detail=draw(TEXT),
        times=draw(st.none() | TIMES),
        retry_after_ms=draw(UINT32),
    )


def letterboxes() -> st.SearchStrategy[Letterbox]:
    sides = st.integers(1, 65_535)
    return st.builds(Letterbox.fit, st.tuples(sides, sides), st.integers(1, 16_384))


def degrees(limit: float) -> st.SearchStrategy[float | None]:
    return st.none() | st.floats(-limit, limit)


TELEMETRY = st.builds(
    Telemetry,
    lat_deg=degrees(90),
    lon_deg=degrees(180),
    alt_m=st.none() | st.floats(-1_000, 100_000),
    yaw_deg=degrees(360),
    pitch_deg=degrees(180),
    roll_deg=degrees(180),
)
FRAMES = st.builds(
    FrameFeatures,
    key=KEYS,
    stream=NAMES,
    captured_unix_ns=st.integers(0, 2**63 - 1),
    letterbox=letterboxes(),
    rate=st.integers(0, RATE_MAX),
    payload=st.binary(max_size=200),
    telemetry=st.none() | TELEMETRY,
    thumbnail=st.binary(max_size=50),
    keep=st.booleans(),
).flatmap(
    lambda frame: (
        (st.none() | st.builds(FrameKey, st.just(frame.key.device), UINT64, UINT64))
        .filter(lambda key: key != frame.key)
        .map(lambda key: replace(frame, reference=key))
    )
)
HELLOS = st.builds(
    Hello,
    device=NAMES,
    epoch=UINT64,
    bundle_id=st.text("0123456789abcdef", min_size=64, max_size=64),
    codec_version=UINT32,
    streams=st.lists(NAMES, min_size=1, max_size=4, unique=True).map(tuple),
    wire_version=st.integers(1, 2**32 - 1),
)
ACKS = st.builds(Ack, UINT64, st.lists(UINT64, max_size=20).map(tuple))
WELCOMES = st.builds(
    Welcome,
    payload_bytes_max=st.integers(1, PAYLOAD_BYTES_MAX),
    thumbnail_bytes_max=st.integers(0, THUMBNAIL_BYTES_MAX),
    reference_bytes_max=st.integers(0, PAYLOAD_BYTES_MAX),
    cloud_unix_ns=UINT64,
    wire_version=st.integers(1, 2**32 - 1),
)
REFUSALS = st.builds(Refusal, st.sampled_from(RefusalStatus), TEXT, UINT32)
DEVICE_MESSAGES: st.SearchStrategy[Any] = HELLOS | FRAMES | ACKS
CLOUD_MESSAGES: st.SearchStrategy[Any] = (
    WELCOMES | results() | st.builds(Credit, UINT64, UINT64) | REFUSALS
)


def same(a: Any, b: Any) -> bool:
    """Whether two messages are equal; arrays can't be compared with == alone."""
    if not (isinstance(a, FrameResult) and isinstance(b, FrameResult)):
        return bool(a == b)
    plain = ("key", "status", "detail", "times", "retry_after_ms")
    return all(getattr(a, name) == getattr(b, name) for name in plain) and all(
        np.array_equal(getattr(a.detections, name), getattr(b.detections, name))
        for name in ("xyxy", "scores", "labels")
    )
