import time

import pytest

from sparsight_edge.timings import Timings, outside_over_engine


def test_the_first_frame_does_not_count() -> None:
    timings = Timings()
    for wall_ms in (900, 10, 30):
        timings.add("engine", wall_ms, wall_ms / 2)
    engine = timings.times()["engine"]
    assert (engine.frames, engine.mean_ms, engine.mean_cpu_ms) == (2, 20, 10)
    assert (engine.first_ms, engine.longest_ms) == (900, 30)


def test_the_only_frame_is_better_than_none() -> None:
    timings = Timings()
    timings.add("engine", 900, 900)
    assert timings.times()["engine"].mean_ms == 900
    assert outside_over_engine(timings.times()) is None


def test_what_is_timed_is_what_happens_inside() -> None:
    timings = Timings()
    for pause_s in (0, 0.05):
        with timings.of("spool"):
            time.sleep(pause_s)
    spool = timings.times()["spool"]
    assert spool.wall_ms >= 50 > spool.cpu_ms


def test_capture_is_not_the_devices_overhead() -> None:
    timings = Timings()
    for _ in range(2):
        for stage, ms in (("capture", 70), ("letterbox", 3), ("engine", 100), ("spool", 2)):
            timings.add(stage, ms, ms)  # type: ignore[arg-type]
    assert outside_over_engine(timings.times()) == pytest.approx(0.05)
    assert outside_over_engine(timings.times(), cpu=True) == pytest.approx(0.05)
