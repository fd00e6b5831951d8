"""Frames added up, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tools.demo.figures import Figures, as_json, figures_of
from tools.demo.judging import Judge
from tools.demo.outcomes import Latency, Outcome
from tools.demo.plan import match_of
from tools.demo.rivals import Sizes
from tools.demo.run import verdict
from tools.demo.table import table

from sparsight.detections import Detections
from sparsight_cloud.data.dataset import Dataset, LabelledImage

PICTURES = tuple(Path(f"{name}.jpg") for name in "abcd")
BOX = np.array([[2, 2, 30, 30]], np.float32)
RIGHT = Detections(BOX, np.array([0.9], np.float32), np.array([0]))
WRONG = Detections(BOX + 60, np.array([0.8], np.float32), np.array([0]))
LABELS = Dataset(
    tuple(
        LabelledImage(path, path.name, i, (100, 100), BOX, np.array([0]), np.zeros((0, 4), "f4"))
        for i, path in enumerate(PICTURES)
    ),
    ("car",),
    (1,),
)
SIZES = {path: Sizes(4000, 2000) for path in PICTURES}


def outcome(place: int, commits: int = 1, found: Detections = RIGHT) -> Outcome:
    latency = Latency(10.0 + place, 5.0, 1.0, 20.0)
    is_there = commits > 0
    return Outcome(
        camera="avenue",
        picture=PICTURES[place],
        sent=True,
        commits=commits,
        found=found if is_there else None,
        payload_bytes=1000 + place if is_there else None,
        latency=latency if is_there else None,
    )


def figures(outcomes: list[Outcome], classes: tuple[str, ...] = ("car",)) -> Figures:
    in_process = dict.fromkeys(PICTURES, RIGHT)
    return figures_of(outcomes, SIZES, in_process, Judge(LABELS, match_of(classes, LABELS, None)))


def test_lost_and_doubled_frames_are_counted() -> None:
    got = figures([outcome(0), outcome(1, commits=3), outcome(2, commits=0), outcome(3)])
    assert (got.planned, got.sent, got.committed) == (4, 4, 3)
    assert (got.lost, got.duplicated) == (1, 2)
    assert verdict(got, []) == "of 4 frames 1 were lost and 2 committed more than once"


def test_a_good_run_has_no_verdict_and_a_program_that_failed_is_one() -> None:
    good = figures([outcome(place) for place in range(4)])
    assert verdict(good, []) is None
    assert "street ended" in (verdict(good, ["street ended with exit code 9: why"]) or "")


def test_the_keys_that_scripts_rely_on() -> None:
    summary = as_json(figures([outcome(place) for place in range(4)]))
    assert list(summary) == [
        *("frames_sent", "frames_committed", "frames_lost", "frames_duplicated"),
        *("bytes_per_frame", "jpeg75_bytes_per_frame", "avif_bytes_per_frame"),
        *("latency_ms", "ap", "ap50", "ap_in_process"),
    ]
    assert summary["bytes_per_frame"] == 1001.5
    assert summary["jpeg75_bytes_per_frame"] == 4000 and summary["avif_bytes_per_frame"] == 2000
    assert list(summary["latency_ms"]) == ["total", "device", "link", "queue", "cloud"]
    assert summary["latency_ms"]["device"] == pytest.approx({"p50": 11.5, "p99": 12.97})
    assert summary["ap"] == summary["ap50"] == summary["ap_in_process"] == 1


def test_what_the_cloud_found_is_judged_not_what_one_process_found() -> None:
    got = figures([outcome(place, found=WRONG) for place in range(4)])
    assert got.ap.ap == 0 and got.in_process.ap == 1


def test_a_bundle_for_other_things_has_no_ap() -> None:
    got = figures([outcome(place) for place in range(4)], classes=("person",))
    assert got.ap.ap is None and as_json(got)["ap"] is None


def test_nothing_committed_is_shown_all_the_same() -> None:
    got = figures([outcome(place, commits=0) for place in range(4)])
    assert got.lost == 4 and got.bytes_per_frame is None
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table({"avenue": got, "both": got}))
    assert "frames lost" in captured.get()


def test_the_table_fits_a_terminal_without_wrapping() -> None:
    got = figures([outcome(place) for place in range(4)])
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table({"avenue": got, "street": got, "both": got}))
    lines = captured.get().splitlines()
    rows = [line for line in lines if line.startswith("│")]
    assert len(rows) == 15
    assert any("as JPEG 75" in row and row.count("4,000 (4.0x)") == 3 for row in rows)
