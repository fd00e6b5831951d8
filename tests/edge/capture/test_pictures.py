import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsight.errors import UsageError
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.source import Captured, Source


def collect(source: Source, most: int | None = None) -> tuple[list[Captured], list[str]]:
    """Frames of a source, and what it said of the others."""
    said: list[str] = []
    frames = []
    for one in source.frames(lambda error: said.append(str(error))):
        frames.append(one)
        if len(frames) == most:
            break
    return frames, said


def open_files(given: str, **options: object) -> Source:
    return open_source(given, threading.Event(), **options)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one that is none, and what else lies about."""
    for i, name in enumerate(("b.png", "a.jpg", "d.PNG")):
        Image.new("RGB", (40 + i, 30), (10 * i, 0, 0)).save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"\x89PNG no more")
    (tmp_path / "._a.jpg").write_bytes(b"finder")
    (tmp_path / "notes.txt").write_text("none")
    return tmp_path


def test_a_folder_gives_its_pictures_in_order_and_names_the_bad_one(folder: Path) -> None:
    before = time.time_ns()
    frames, said = collect(open_files(str(folder)))
    assert [(one.name, one.index) for one in frames] == [("a.jpg", 0), ("b.png", 1), ("d.PNG", 2)]
    assert frames[1].frame.shape == (30, 40, 3) and frames[1].frame.dtype == np.uint8
    assert before <= frames[0].captured_unix_ns <= frames[2].captured_unix_ns <= time.time_ns()
    (line,) = said
    assert line.startswith(str(folder / "c.png")) and "\n" not in line


def test_a_pattern_and_a_single_picture(folder: Path) -> None:
    assert [one.name for one in collect(open_files(str(folder / "[ab].*")))[0]] == [
        "a.jpg",
        "b.png",
    ]
    assert [one.name for one in collect(open_files(str(folder / "b.png")))[0]] == ["b.png"]


def test_the_size_limit_is_checked_before_decoding(folder: Path) -> None:
    frames, said = collect(open_files(str(folder), max_pixels=40 * 30))
    assert [one.name for one in frames] == ["b.png"]
    assert sum("over the limit" in line for line in said) == 2


def test_a_loop_counts_on_and_complains_once(folder: Path) -> None:
    frames, said = collect(open_files(str(folder), loop=True), most=7)
    assert [one.index for one in frames] == list(range(7))
    assert [one.name for one in frames[:4]] == ["a.jpg", "b.png", "d.PNG", "a.jpg"]
    assert len(said) == 1


def test_a_loop_over_nothing_good_ends(folder: Path) -> None:
    assert collect(open_files(str(folder / "c.png"), loop=True))[0] == []


def test_a_paced_source_takes_its_time(folder: Path) -> None:
    start_s = time.monotonic()
    frames, _ = collect(open_files(str(folder), fps=20, loop=True), most=5)
    assert time.monotonic() - start_s >= 4 / 20
    stamps = [one.captured_unix_ns for one in frames]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] >= 0.19e9


def test_a_slow_taker_gets_no_burst(folder: Path) -> None:
    frames = open_files(str(folder), fps=20, loop=True).frames(lambda error: None)
    next(frames)
    time.sleep(0.4)
    stamps = [next(frames).captured_unix_ns for _ in range(4)]
    assert min(np.diff(stamps)) > 0.03e9


def test_stop_ends_a_paced_source_while_it_waits(folder: Path) -> None:
    stop = threading.Event()
    frames = open_source(str(folder), stop, fps=0.01).frames(lambda error: None)
    next(frames)
    threading.Timer(0.1, stop.set).start()
    start_s = time.monotonic()
    assert next(frames, None) is None
    assert time.monotonic() - start_s < 30


@pytest.mark.parametrize(
    ("given", "says"),
    [("gone.jpg", "neither a file nor a folder"), ("no*.png", "no picture matches no")],
)
def test_nothing_there(
    given: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=says):
        open_files(given)


def test_an_empty_folder_and_a_pace_of_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no picture"):
        open_files(str(tmp_path))
    with pytest.raises(UsageError, match=r"fps: expected .* got 0"):
        open_files(str(tmp_path), fps=0.0)
