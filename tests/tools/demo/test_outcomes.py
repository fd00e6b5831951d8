"""What became of frames, from files as devices and the cloud write them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tools.demo.outcomes import FRAMES, RESULTS, DeviceFiles, Outcome, outcomes_of
from tools.demo.plan import Camera

from sparsight.detections import Detections
from sparsight.wire import FrameKey, FrameResult, FrameStatus
from sparsight_cloud.serving.records import Record

CAMERA = Camera("avenue", "*.jpg", tuple(Path(f"{name}.jpg") for name in "abc"))
EPOCH = 7
MS = 1_000_000


def record(seq: int, *, device: str = "avenue", status: FrameStatus = FrameStatus.OK) -> Record:
    count = 1 if status is FrameStatus.OK else 0
    found = Detections(
        np.full((count, 4), seq, np.float32), np.ones(count, np.float32), np.zeros(count, np.int64)
    )
    return Record(
        result=FrameResult(FrameKey(device, EPOCH, seq), status, found),
        stream=device,
        captured_unix_ns=0,
        committed_unix_ns=0,
        frame_hw=(10, 10),
        bundle_id="",
        rate=0,
        payload_bytes=100 + seq,
        telemetry=None,
    )


def frame(seq: int, name: str) -> dict[str, Any]:
    times = {"captured_unix_ns": seq * MS, "coded_unix_ns": (seq + 20) * MS}
    return {"epoch": EPOCH, "seq": seq, "name": name, **times}


def answer(seq: int, after_ms: int, cloud_ms: dict[str, float] | None) -> dict[str, Any]:
    answered = {"answered_unix_ns": (seq + after_ms) * MS, "cloud_ms": cloud_ms}
    return {"epoch": EPOCH, "seq": seq, **answered}


def outcomes(
    folder: Path,
    frames: Iterable[dict[str, Any]],
    results: Iterable[dict[str, Any]],
    records: Iterable[Record],
) -> list[Outcome]:
    for name, lines in ((FRAMES, frames), (RESULTS, results)):
        # Half a line at the end: the device was killed while writing it.
        text = "".join(json.dumps(line) + "\n" for line in lines) + '{"epoch": 7, "se'
        (folder / name).write_text(text)
    return outcomes_of(CAMERA, DeviceFiles.read(folder), records)


ALL = [frame(0, "a.jpg"), frame(1, "b.jpg"), frame(2, "c.jpg")]


def test_all_is_well(tmp_path: Path) -> None:
    out = outcomes(tmp_path, ALL, [], [record(2), record(0), record(1)])
    assert [(one.sent, one.commits, one.payload_bytes) for one in out] == [
        (True, 1, 100),
        (True, 1, 101),
        (True, 1, 102),
    ]
    assert [one.found and one.found.xyxy[0, 0] for one in out] == [0, 1, 2]


def test_a_frame_that_was_not_committed_shows(tmp_path: Path) -> None:
    records = [record(0), record(1, status=FrameStatus.REFUSED), record(2, device="street")]
    out = outcomes(tmp_path, ALL, [], records)
    assert [(one.commits, one.found is None) for one in out] == [(1, False), (0, True), (0, True)]


def test_a_frame_that_was_never_sent_shows(tmp_path: Path) -> None:
    out = outcomes(tmp_path, ALL[:2], [], [record(0), record(1), record(2)])
    assert [(one.sent, one.commits) for one in out] == [(True, 1), (True, 1), (False, 0)]


def test_the_same_key_twice_and_the_same_picture_under_two_keys_are_doubled(
    tmp_path: Path,
) -> None:
    frames = [*ALL, frame(3, "c.jpg")]
    records = [record(seq) for seq in (0, 1, 1, 2, 3)]
    assert [one.commits for one in outcomes(tmp_path, frames, [], records)] == [1, 2, 2]


def test_a_device_that_wrote_nothing_has_sent_nothing(tmp_path: Path) -> None:
    out = outcomes_of(CAMERA, DeviceFiles.read(tmp_path / "nowhere"), [])
    assert [(one.sent, one.commits, one.latency) for one in out] == [(False, 0, None)] * 3


def test_the_parts_of_a_latency_add_up_and_the_first_frame_has_none(tmp_path: Path) -> None:
    cloud_ms = {"queue": 3.0, "compute": 40.0, "commit": 2.0}
    results = [answer(0, 5000, cloud_ms), answer(1, 100, cloud_ms), answer(2, 90, None)]
    first, second, third = (one.latency for one in outcomes(tmp_path, ALL, results, []))
    assert first is None and third is None
    assert second is not None and second.total == pytest.approx(100)
    parts = (second.device, second.link, second.queue, second.cloud)
    assert parts == pytest.approx((20, 35, 3, 42))
