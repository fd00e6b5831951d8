"""A pipe shapes what it says."""

import pytest
from bench.pipe import Pipe, Shape

PACKET = bytes(1500)


def through(pipe: Pipe, packets: int, gap_s: float, seconds: float) -> list[float]:
    """When each of some packets came out."""
    came: list[float] = []
    sent = 0
    for step in range(int(seconds * 1000)):
        now_s = step / 1000
        while sent < packets and sent * gap_s <= now_s:
            pipe.put(PACKET, now_s)
            sent += 1
        came += [now_s] * len(pipe.take(now_s))
    return came


@pytest.mark.parametrize("kbps", [64, 1000, 20_000])
def test_as_many_bits_a_second_as_it_says(kbps: float) -> None:
    came = through(Pipe(Shape(kbps, 0)), 100_000, 1500 / kbps / 125 / 2, 20)
    assert len(came) * len(PACKET) / 125 / 20 == pytest.approx(kbps, rel=0.1)
    for start in range(0, 20, 5):
        part = sum(start <= at < start + 5 for at in came) * len(PACKET) / 125 / 5
        assert part == pytest.approx(kbps, rel=0.1)


def test_a_packet_is_on_its_way_as_long_as_it_says() -> None:
    (came,) = through(Pipe(Shape(1200, 300)), 1, 1, 2)
    assert came == pytest.approx(0.310, abs=0.002)  # 10 ms to get through, then 300


def test_as_many_are_lost_as_it_says() -> None:
    came = through(Pipe(Shape(20_000, 20, loss=0.3)), 5000, 0.001, 6)
    assert len(came) / 5000 == pytest.approx(0.7, abs=0.02)


def test_a_queue_holds_so_much_and_no_more() -> None:
    pipe = Pipe(Shape(1200, 0, queue_ms=500))
    for _ in range(1000):
        pipe.put(PACKET, 0.0)
    assert len(pipe.take(60.0)) == 50  # half a second of them


def test_an_outage_loses_what_waits_and_then_it_goes_on() -> None:
    pipe = Pipe(Shape(1200, 0))
    for _ in range(10):
        pipe.put(PACKET, 0.0)
    pipe.shape = Shape(0)
    assert pipe.take(1.0) == [] and pipe.next_s() == float("inf")
    pipe.put(PACKET, 2.0)
    pipe.shape = Shape(1200, 0)
    assert pipe.take(3.0) == []
    pipe.put(PACKET, 3.0)
    assert pipe.next_s() == 3.0
    assert len(pipe.take(3.1)) == 1
