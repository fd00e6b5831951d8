"""The screen of --tui, drawn without a terminal."""

from collections import deque
from dataclasses import replace

from rich.console import Console

from sparsight_edge.capture.outages import CameraStats
from sparsight_edge.progress import Progress
from sparsight_edge.spool.stats import SpoolStats
from sparsight_edge.timings import Timings
from sparsight_edge.tui import Screen, strokes
from sparsight_edge.uplink.ledger import UplinkStats

from .small.figures import NOTHING_YET


def test_everything_is_on_one_screen() -> None:
    now_s = [0.0]
    screen = Screen(1_000_000, clock=lambda: now_s[0])
    timings = Timings()
    for _ in range(2):
        timings.add("engine", 42.0, 42.0)
    progress = replace(
        NOTHING_YET,
        seconds=10,
        captured=20,
        unreadable=1,
        spool=replace(SpoolStats(), bytes=250_000),
        uplink=UplinkStats(state="waiting", reason="no route", sent=3),
        times=timings.times(),
        camera=CameraStats("lost", "no answer", 2, 3.0),
    )
    assert "none yet" in drawn(screen, progress)
    for answers in range(3):
        now_s[0] += 1
        uplink = replace(progress.uplink, sent_bytes=1000 * answers, acknowledged=answers)
        text = drawn(screen, replace(progress, uplink=uplink))
    now_s[0] += 0.5
    for word in (
        *("20 captured", "lost (no answer)", "waiting (no route)", "1 unreadable", "engine 42.0"),
        *("25% of 1 MB", "8 ▁██", "0 s ago", "the log's line"),
    ):
        assert word in text, (word, text)
    assert len(text.splitlines()) <= 24


def test_strokes() -> None:
    assert strokes(deque()) == ""
    assert strokes(deque([0.0, 0.0])) == "▁▁"
    assert strokes(deque([0.0, 5.0, 10.0])) == "▁▅█"


def drawn(screen: Screen, progress: Progress) -> str:
    console = Console(width=80, height=24, force_terminal=False)
    with console.capture() as captured:
        console.print(screen.draw(progress, "the log's line"))
    return captured.get()
