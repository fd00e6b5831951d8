import math
from dataclasses import replace

import numpy as np
import pytest
from bench.fleet import Fleet, Service, simulate

FIXED = Service(base_ms=100.0, each_ms=0.0)
ALONE = Fleet(6.0, batch=1, wait_ms=0.0, seconds=2_000.0)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.7])
def test_one_replica_is_the_queue_of_the_textbook(load: float) -> None:
    """M/D/1: the mean wait is load / (2 (1 - load)) of the service time."""
    lived = simulate(replace(ALONE, offered_per_s=10 * load), FIXED)
    assert lived.per_s == pytest.approx(10 * load, rel=0.03)
    assert lived.replicas_busy == pytest.approx(load, rel=0.03)
    wait = load / (2 * (1 - load))
    assert np.mean(lived.took_ms) == pytest.approx(100 * (1 + wait), rel=0.1)


def test_a_frame_that_waits_for_nobody_takes_what_was_measured() -> None:
    service = Service(base_ms=5.0, each_ms=10.0, gateway_ms=2.0, way_ms=3.0)
    lived = simulate(Fleet(0.5, batch=8, wait_ms=4.0, seconds=400.0), service)
    assert lived.percentile_ms(50) == pytest.approx(2 + 4 + 5 + 10 + 3)


def test_a_crowd_fills_batches_and_is_answered_as_fast_as_replicas_can() -> None:
    service = Service(base_ms=50.0, each_ms=10.0)
    assert service.frames_per_s(8) == pytest.approx(8e3 / 130)
    crowd = Fleet(500.0, replicas=2, gateways=2, batch=8, seconds=30.0)
    lived = simulate(crowd, service)
    assert lived.per_s == pytest.approx(2 * service.frames_per_s(8), rel=0.02)
    assert lived.waiting > 7_000 and lived.replicas_busy > 0.98


def test_a_gateway_may_be_what_is_waited_for() -> None:
    service = replace(FIXED, base_ms=1.0, gateway_ms=10.0)
    many = Fleet(150.0, replicas=2, seconds=30.0)
    assert simulate(many, service).per_s == pytest.approx(100, rel=0.02)
    both = simulate(replace(many, gateways=2), service)
    assert both.per_s == pytest.approx(150, rel=0.05)
    assert both.gateways_busy == pytest.approx(0.75, rel=0.05)


def test_the_line_through_batches_is_found_again() -> None:
    batches = [(n, 20.0 + 5.0 * n) for n in (1, 2, 4, 8)]
    service = Service.fitted(batches, gateway_ms=1.0, way_ms=2.0)
    assert (service.base_ms, service.each_ms) == pytest.approx((20.0, 5.0))
    assert service.spread == pytest.approx([1.0] * 4)
    alike = Service.fitted([(2, 30.0), (2, 50.0)], gateway_ms=0.0, way_ms=0.0)
    assert (alike.base_ms, alike.each_ms) == (0.0, 20.0)
    assert alike.spread == pytest.approx([0.75, 1.25])


def test_nothing_answered_is_no_number() -> None:
    assert simulate(replace(ALONE, seconds=0.05), FIXED).percentile_ms(99) == math.inf
