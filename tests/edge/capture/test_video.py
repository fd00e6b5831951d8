import threading
from pathlib import Path

import numpy as np
import pytest

from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.source import Captured

from .films import grey_of, write_film


def watch(path: Path, **options: object) -> tuple[list[Captured], list[str]]:
    """Frames of a film, and what was said of it."""
    said: list[str] = []
    source = open_source(str(path), threading.Event(), **options)  # type: ignore[arg-type]
    return list(source.frames(lambda error: said.append(str(error)))), said


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("a.mkv", "mpeg4"), ("a.avi", "mjpeg")]
)
def test_every_frame_with_its_time(tmp_path: Path, name: str, codec: str) -> None:
    write_film(tmp_path / name, 30, fps=10, codec=codec)
    frames, said = watch(tmp_path / name)
    assert said == []
    assert [one.index for one in frames] == list(range(30))
    assert frames[12].name == f"{name}@1.200s"
    steps = np.diff([one.captured_unix_ns for one in frames])
    np.testing.assert_allclose(steps, 1e8, atol=2e6)
    for i, one in enumerate(frames):
        assert one.frame.shape == (96, 128, 3) and one.frame.flags.c_contiguous
        assert abs(float(one.frame[48:].mean()) - grey_of(i, 30)) < 8


def test_a_pace_takes_so_many_frames_of_a_second(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", 20, fps=40)
    frames, said = watch(tmp_path / "a.mp4", fps=20.0)
    assert said == []
    assert [one.name for one in frames[:3]] == ["a.mp4@0.000s", "a.mp4@0.050s", "a.mp4@0.100s"]
    assert len(frames) == 10


def test_a_pace_faster_than_the_film_leaves_nothing_out(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", 5, fps=10)
    assert len(watch(tmp_path / "a.mp4", fps=1000.0)[0]) == 5


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_a_turned_film_comes_upright(tmp_path: Path, rotation: int) -> None:
    write_film(tmp_path / "a.mp4", 3, rotation=rotation)
    (frame, *_), said = watch(tmp_path / "a.mp4")
    assert said == []
    # The stripe was along the top before the player was told to turn the film.
    sides = {
        "top": frame.frame[:10],
        "left": frame.frame[:, :10],
        "bottom": frame.frame[-10:],
        "right": frame.frame[:, -10:],
    }
    darkest = min(sides, key=lambda side: float(sides[side].mean()))
    assert darkest == {0: "top", 90: "left", 180: "bottom", -90: "right"}[rotation]


@pytest.mark.parametrize("name", ["a.mkv", "a.avi"])
def test_a_truncated_film_gives_what_is_there_and_one_error(tmp_path: Path, name: str) -> None:
    write_film(tmp_path / name, 40)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    frames, said = watch(tmp_path / name)
    assert 0 < len(frames) < 39
    assert len(said) == 1
    assert str(tmp_path / name) in said[0] and f"{len(frames)} frames could be" in said[0]


def test_damaged_packets_are_passed_over_and_said_once(tmp_path: Path) -> None:
    file = tmp_path / "a.avi"
    write_film(file, 30, codec="mjpeg")
    data = bytearray(file.read_bytes())
    start = -1
    for _ in range(4):  # wipe the fourth picture
        start = data.index(b"\xff\xd8\xff", start + 1)
    data[start : start + 600] = bytes(600)
    file.write_bytes(data)
    frames, said = watch(file)
    assert 25 <= len(frames) <= 29
    assert len(said) == 1 and "damaged: 1 packets can't be decoded" in said[0]


@pytest.mark.parametrize("content", [b"", b"no film at all", bytes(range(256)) * 40])
def test_no_film_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    frames, (line,) = watch(tmp_path / "a.mp4")
    assert frames == []
    assert line.startswith(str(tmp_path / "a.mp4")) and "\n" not in line


def test_a_film_without_its_index_is_one_error(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", 10)
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    frames, said = watch(tmp_path / "a.mp4")
    assert (frames, len(said)) == ([], 1)


def test_frames_over_the_limit_are_refused_before_decoding(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", 3)
    frames, (line,) = watch(tmp_path / "a.mp4", max_pixels=1000)
    assert frames == [] and "128x96 is over the limit of 0.001 Mpx" in line


def test_a_closed_iterator_lets_go_of_the_file(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", 30)
    frames = open_source(str(tmp_path / "a.mp4"), threading.Event()).frames(lambda error: None)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    held = [path.resolve() for path in Path("/proc/self/fd").iterdir()]
    assert tmp_path / "a.mp4" not in held
