import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from bench.client import Trip
from bench.fleet import Service
from bench.replicas import Load, coded
from bench.scale import need, report, service_of, tables
from bench.scale_chart import chart
from bench.scale_cloud import Batch
from bench.scale_served import Point, added_ms, measure
from PIL import Image
from rich.console import Console
from tests.split import scene

from sparsight.bundle import open_bundle
from sparsight.wire import FrameKey

CORE = Service(base_ms=10.0, each_ms=100.0, gateway_ms=0.5, way_ms=3.0)
POINTS = [
    Point(
        n,
        8,
        9.0 * n,
        5.4 * n,
        np.linspace(110, 400, 50),
        np.linspace(4, 20, 50),
        tuple((k, 10.0 + 100.0 * k) for k in (1, 2, 8)),
    )
    for n in (1, 2)
]


def key(seq: int) -> FrameKey:
    return FrameKey("drone", 1, seq)


def test_added_is_what_neither_computing_nor_busy_replicas_explain() -> None:
    batches = [Batch(1.0, 2.0, (key(0),)), Batch(2.1, 3.0, (key(1), key(2)))]
    trips = [Trip(key(0), 0.9, 2.05), Trip(key(1), 1.5, 3.05), Trip(key(2), 2.0, 3.05)]
    # The second comes at half of the first one's batch: 0.5 s of its wait are the replica's.
    assert added_ms(trips, batches, 1) == pytest.approx([150.0, 150.0, 150.0])
    # With another replica idle all the time, nobody had to wait.
    assert added_ms(trips, batches, 2) == pytest.approx([150.0, 650.0, 150.0])


def test_larger_fleets_need_more_and_no_number_beats_the_computing() -> None:
    few, many = (
        need(devices, 1.0, CORE, speed=1.0, batches=(1, 8), p99_ms=1000.0) for devices in (20, 80)
    )
    assert few.replicas is not None and many.replicas is not None
    assert 20 * 0.11 / 0.8 <= few.replicas < many.replicas
    assert few.p99_ms <= 1000.0 and few.gateways == 1
    slow = need(20, 1.0, CORE, speed=0.1, batches=(1, 8), p99_ms=1000.0)
    assert slow.replicas is None


def test_a_report_is_shown_and_drawn() -> None:
    service = service_of(POINTS[0], gateway_ms=1.0)
    assert service.way_ms == pytest.approx(11.0) and service.each_ms == pytest.approx(100.0)
    needs = [
        need(devices, 0.2, CORE, speed=speed, batches=(1,), p99_ms=p99_ms)
        for speed, p99_ms in ((1.0, 50.0), (2.0, 500.0))
        for devices in (20, 40)
    ]
    found = report(POINTS, service, needs)
    assert found["replicas_ratio"] == pytest.approx(2.0)
    assert found["points"][1]["model_full_per_s"] == pytest.approx(2 * 8 / 0.81, rel=0.02)
    console = Console(record=True, width=120)
    for table in tables(found, 0.2, 500.0):
        console.print(table)
    assert "never enough" in console.export_text()
    words = " ".join(ET.fromstring(chart(found)).itertext())
    assert "2 times a core, assumed" in words and "2 replicas, 10.8 frames/s" in words


@pytest.mark.slow
def test_a_real_cloud_is_filled_and_loaded(split_bundle: Path, tmp_path: Path) -> None:
    for i in range(2):
        Image.fromarray(scene(i)).save(tmp_path / f"{i}.png")
    load = Load(split_bundle, tmp_path, limit=2, devices=2, batch=2, seconds=1.0)
    point = measure(load, coded(load), open_bundle(split_bundle).manifest.cloud_id, 0.5)
    assert point.full_per_s > 0
    assert len(point.trips_ms) == len(point.added_ms) > 2
    assert (point.added_ms > 0).all() and (point.added_ms < point.trips_ms).all()
    assert {frames for frames, _ in point.batches} <= {1, 2}
