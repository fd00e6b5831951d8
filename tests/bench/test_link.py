"""The figures of a run on a shaped link are those of what was written down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bench.link_chart import chart
from bench.link_report import Run, Sample, queue_ages, report, worst_windows
from tools.demo.judging import Ap

from sparsight.detections import Detections


class Counts:
    """A judge that counts pictures."""

    def judge(self, found: Mapping[Path, Detections]) -> Ap:
        return Ap(len(found) / 100, None)


def frame(seq: int, begin_s: float, rate: int = 2) -> dict[str, Any]:
    return {
        "epoch": 1,
        "seq": seq,
        "name": f"{seq}.jpg",
        "captured_unix_ns": int(begin_s * 1e9),
        "coded_unix_ns": int(begin_s * 1e9),
        "rate": rate,
        "patches": 10,
        "payload_bytes": 1000,
    }


def answer(seq: int, end_s: float) -> dict[str, Any]:
    return {
        "epoch": 1,
        "seq": seq,
        "answered_unix_ns": int(end_s * 1e9),
        "detections": [],
        "cloud_ms": None,
    }


def even(kbps: float, seconds: int) -> list[Sample]:
    return [Sample(i / 10, int(i * kbps * 12.5), 0 if i < 150 else 1) for i in range(seconds * 10)]


def test_the_worst_window_is_found_wherever_it_lies() -> None:
    assert worst_windows(even(400, 30), 2, 400) == pytest.approx([1, 1], rel=0.02)
    burst = [
        Sample(s.unix_s, s.sent_bytes + 100_000 * (s.unix_s >= 12.03), s.step)
        for s in even(400, 30)
    ]
    assert worst_windows(burst, 2, 400) == pytest.approx([1.2, 1.2], rel=0.02)
    # In no window of 10 s are both of two bursts that are further apart.
    two = [Sample(i / 10, 250_000 * (i >= 50) + 250_000 * (i >= 160), 0) for i in range(300)]
    assert worst_windows(two, 1, 400) == [0.5]


def test_the_queue_is_as_old_as_its_oldest_frame() -> None:
    samples = [Sample(float(i), 0, 0) for i in range(8)]
    run = Run(
        samples, [frame(0, 1.5), frame(1, 2.5), frame(2, 6.5)], [answer(0, 4.5), answer(1, 3.5)], {}
    )
    assert queue_ages(run) == [0, 0, 0.5, 1.5, 2.5, 0, 0, 0.5]


def test_a_report_and_its_picture() -> None:
    frames = [frame(i, 0.5 + i, rate=i % 5) for i in range(28)]
    run = Run(even(300, 30), frames, [answer(i, 1.0 + i) for i in range(20)], {"seconds": 30})
    found = report(run, ["good", "bad & worse"], 400, Counts(), Path())
    good, bad = found["steps"]
    assert (good["frames"], good["answered"], good["ap"]) == (15, 15, 0.15)
    assert (bad["frames"], bad["answered"], bad["ap"]) == (13, 5, 0.05)
    assert good["sent_kbps"] == pytest.approx(300, rel=0.01)
    assert good["worst_over_promise"] == pytest.approx(0.75, rel=0.02)
    assert good["queue_s_max"] < 1 and bad["queue_s_max"] == pytest.approx(9.4, abs=0.2)
    assert len(found["series"]) == 29 and found["series"][3]["rate"] == 3
    links = [{"name": "good", "kbps": 1000.0}, {"name": "bad", "kbps": 0.0}]
    drawn = chart({**found, "links": links, "max_kbps": 400, "fps": 1})
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert "bad &amp; worse" in drawn and "15.0%, 15 of 15" in drawn
    assert "nothing" not in drawn
