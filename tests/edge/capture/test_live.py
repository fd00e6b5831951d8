from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from jaxtyping import UInt8

from sparsight.errors import PictureError, UsageError
from sparsight_edge.capture.camera import CameraLostError, CameraSettings, Shot
from sparsight_edge.capture.clock import CREEP, KeepUp, StreamClock
from sparsight_edge.capture.live import LiveSource
from sparsight_edge.capture.outages import Outages

QUICK = CameraSettings(silent_s=0.2, wait_s=(0.01, 0.02))
NS = 1_000_000_000


def no_trouble(error: PictureError) -> None:
    raise error


def black() -> UInt8[np.ndarray, "h w 3"]:
    return np.zeros((2, 2, 3), np.uint8)


@dataclass
class Script:
    """A camera that does what is written, connection by connection."""

    runs: list[Callable[[], Iterator[Shot]]]
    returns: bool = True
    name: str = "rtsp://camera/"
    opened: int = 0

    def shots(self, ended: Callable[[], bool]) -> Iterator[Shot]:
        self.opened += 1
        return self.runs.pop(0)() if self.runs else iter(())


@dataclass
class Run:
    count: int
    error: Exception | None = None
    given: list[int] = field(default_factory=list)

    def __call__(self) -> Iterator[Shot]:
        for i in range(self.count):
            self.given.append(i)
            yield Shot(black, i * NS // 10)
        if self.error is not None:
            raise self.error


def test_every_frame_makes_the_camera_wait() -> None:
    run = Run(100)
    source = LiveSource(
        Script([run], returns=False), threading.Event(), Outages(), latest=False, settings=QUICK
    )
    frames = source.frames(no_trouble)
    next(frames)
    time.sleep(0.1)
    assert len(run.given) <= 3
    assert len(list(frames)) == 99
    assert source.latest is False


def test_a_camera_that_had_to_wait_was_not_silent() -> None:
    outages = Outages()

    def slow() -> Iterator[Shot]:
        for i in range(100):
            time.sleep(0.3)
            yield Shot(black, i)

    settings = CameraSettings(silent_s=0.1, wait_s=(10, 10))
    source = LiveSource(Script([slow]), threading.Event(), outages, latest=False, settings=settings)
    frames = source.frames(no_trouble)
    next(frames)
    time.sleep(2)
    for _ in range(3):
        next(frames)
    assert outages.stats().outages == 0
    frames.close()  # type: ignore[attr-defined]


def test_a_pace_holds_over_trembling_stamps_and_gaps() -> None:
    ms = [0, 95, 205, 298, 402, 500, 5000, 5100, 5205, 5300]

    def trembling() -> Iterator[Shot]:
        yield from (Shot(black, 10**18 + at * 1_000_000) for at in ms)

    source = LiveSource(
        Script([trembling], returns=False), threading.Event(), Outages(), latest=False, fps=5.0
    )
    taken = [(one.captured_unix_ns - 10**18) // 1_000_000 for one in source.frames(no_trouble)]
    assert taken == [0, 205, 402, 5000, 5205]


def test_the_latest_frame_wins() -> None:
    gate = threading.Event()

    def endless() -> Iterator[Shot]:
        for i in itertools.count():
            if i == 50:
                gate.set()
            yield Shot(black, i)
            time.sleep(0.001)

    outages = Outages()
    source = LiveSource(Script([endless]), threading.Event(), outages, latest=True, settings=QUICK)
    frames = source.frames(no_trouble)
    next(frames)
    assert gate.wait(10)
    assert next(frames).captured_unix_ns >= 49
    assert outages.stats().missed >= 40
    frames.close()  # type: ignore[attr-defined]


def test_outages_are_counted_and_said_once_each() -> None:
    said: list[str] = []
    outages = Outages(said.append)
    script = Script([Run(2), Run(0, CameraLostError("401")), Run(0), Run(2), Run(1)])
    source = LiveSource(script, threading.Event(), outages, latest=False, settings=QUICK)
    frames = source.frames(no_trouble)
    assert [next(frames).index for _ in range(5)] == [0, 1, 2, 3, 4]
    frames.close()  # type: ignore[attr-defined]
    assert script.opened >= 5
    assert [line.split(" (")[0].split(" after")[0] for line in said[:4]] == [
        "rtsp://camera/: lost",
        "rtsp://camera/: back",
        "rtsp://camera/: lost",
        "rtsp://camera/: back",
    ]
    assert outages.stats().outages in (2, 3)  # the last end may have been noticed


def test_an_outage_lasts_from_frame_to_frame() -> None:
    now_s = [100.0]
    outages = Outages(clock=lambda: now_s[0])
    assert outages.stats().state == "none"
    outages.opening("camera")
    now_s[0] = 101.0
    outages.frame(0)
    now_s[0] = 104.0
    outages.lost("refused")
    outages.lost("401")
    now_s[0] = 106.0
    stats = outages.stats()
    assert (stats.state, stats.reason, stats.outages, stats.outage_s) == ("lost", "401", 1, 5.0)
    now_s[0] = 107.0
    outages.frame(3)
    now_s[0] = 200.0
    stats = outages.stats()
    assert (stats.state, stats.reason, stats.outage_s, stats.missed) == ("up", "", 6.0, 3)


def test_a_driver_that_no_time_out_reaches_is_noticed_and_left_behind() -> None:
    wake = threading.Event()

    def hangs() -> Iterator[Shot]:
        yield Shot(black, 0)
        wake.wait()

    outages, stop = Outages(), threading.Event()
    source = LiveSource(Script([hangs]), stop, outages, latest=True, settings=QUICK)
    frames = source.frames(no_trouble)
    next(frames)
    waiting = threading.Thread(target=lambda: list(frames), daemon=True)
    waiting.start()
    end_s = time.monotonic() + 20
    while outages.stats().state != "lost" and time.monotonic() < end_s:
        time.sleep(0.02)
    assert outages.stats().reason == "no frame for 0.2 s"
    stop.set()
    waiting.join(10)
    assert not waiting.is_alive()
    wake.set()


@pytest.mark.parametrize("error", [PictureError("too large"), UsageError("no element")])
def test_what_no_patience_mends_ends_the_source(error: Exception) -> None:
    said: list[str] = []
    source = LiveSource(
        Script([Run(2, error)]), threading.Event(), Outages(), latest=False, settings=QUICK
    )
    frames = source.frames(lambda error: said.append(str(error)))
    assert [next(frames).index for _ in range(2)] == [0, 1]
    if isinstance(error, PictureError):
        assert (list(frames), said) == ([], ["too large"])
    else:
        with pytest.raises(UsageError, match="no element"):
            next(frames)


def test_stamps_are_mapped_by_the_shortest_delay() -> None:
    clock = StreamClock()
    delays_s = [0.8, 0.3, 0.5, 0.1, 0.4, 0.4, 0.4, 0.4, 0.4, 0.2]
    taken = [
        clock.unix_ns(7 + 0.1 * i, int((1000 + 0.1 * i + late) * NS))
        for i, late in enumerate(delays_s)
    ]
    # 0.1 s of delay is the least there was, and can't be told from none.
    assert abs(taken[8] - int(1000.9 * NS)) < 1e6 and abs(taken[9] - int(1001 * NS)) < 1e6
    assert taken == sorted(taken)
    assert clock.unix_ns(None, 5) == 5


def test_a_clock_that_is_slow_is_followed_and_one_that_jumps_begins_anew() -> None:
    clock = StreamClock()
    for s in range(0, 3600, 10):  # loses 100 ppm
        taken = clock.unix_ns(s * (1 - 100e-6), (50 + s) * NS)
    assert CREEP > 100e-6 and abs(taken - (50 + 3590) * NS) < 10e6
    assert clock.unix_ns(0.0, 5000 * NS) == 5000 * NS
    assert clock.unix_ns(0.1, 5000 * NS + NS // 10) == 5000 * NS + NS // 10


def test_who_falls_behind_passes_over_to_a_key_frame() -> None:
    keep = KeepUp()
    #         in time        late, up to a key that is, too   then to one in time
    packets = [(0.1, False), (2.5, False), (2.4, False), (2.2, True), (0.4, False), (0.3, True)]
    assert [keep.takes(*packet) for packet in packets] == [True, False, False, True, False, True]
    assert keep.takes(0.5, False)
