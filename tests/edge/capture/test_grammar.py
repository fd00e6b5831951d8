from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from sparsight.errors import UsageError
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.grammar import Spec, parse_source

from .films import write_film


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        ("a b.jpg", Spec("path", "a b.jpg", "a b.jpg")),
        ("12:30.mp4", Spec("path", "12:30.mp4", "12:30.mp4")),
        ("./-", Spec("path", "./-", "./-")),
        ("file:///films/a%20b.mp4", Spec("path", "/films/a b.mp4", "file:///films/a%20b.mp4")),
        (
            "RTSP://joe:a@b@10.0.0.8:554/live?x=1",
            Spec("network", "RTSP://joe:a@b@10.0.0.8:554/live?x=1", "rtsp://10.0.0.8:554/live"),
        ),
        ("rtsps://cam/", Spec("network", "rtsps://cam/", "rtsps://cam/")),
        ("http://cam/mjpeg", Spec("network", "http://cam/mjpeg", "http://cam/mjpeg")),
        ("https://u@cam/a.MP4?k=1", Spec("film", "https://u@cam/a.MP4?k=1", "https://cam/a.MP4")),
        ("v4l2:///dev/video0", Spec("v4l2", "/dev/video0", "v4l2:///dev/video0")),
        (
            "v4l2:///dev/video2?size=1280x720&fps=29.97&format=mjpeg",
            Spec(
                "v4l2",
                "/dev/video2",
                "v4l2:///dev/video2?size=1280x720&fps=29.97&format=mjpeg",
                (1280, 720),
                "mjpeg",
                29.97,
            ),
        ),
        ("csi://1?fps=30", Spec("csi", "1", "csi://1?fps=30", None, "", 30.0)),
        ("gst://a b=c ! d?e=1", Spec("gst", "a b=c ! d?e=1", "gst://a b=c ! d?e=1")),
        ("-?size=4x2", Spec("stdin", "", "-?size=4x2", (4, 2), "rgb24")),
        (
            "-?size=4x2&format=nv12&fps=5",
            Spec("stdin", "", "-?size=4x2&format=nv12&fps=5", (4, 2), "nv12", 5.0),
        ),
    ],
)
def test_what_is_meant(given: str, spec: Spec) -> None:
    assert parse_source(given) == spec
    assert spec.live == (spec.kind in ("network", "v4l2", "csi", "gst"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "got nothing"),
        ("rtp://cam/", "rtp:// is not known, the nearest is rtsp://"),
        ("v4l://dev/video0", "nearest is v4l2://"),
        ("httpss://cam/", "nearest is https://"),
        ("gstreamer://a", "nearest is gst://"),
        ("rtsp:///path", "got no host"),
        ("rtsp://cam:port/", "no address"),
        ("v4l2://dev/video0", "three strokes"),
        ("csi://front", "expected csi://0"),
        ("gst:// ", "wants a pipeline"),
        ("-", "need their size"),
        ("-?size=1920", "expected WIDTHxHEIGHT"),
        ("-?size=0x5", "expected WIDTHxHEIGHT"),
        ("-?size=99999x5", "each 1 to 65535"),
        ("-?size=4x4&format=rgba", "expected one of rgb24, bgr24"),
        ("-?size=5x4&format=nv12", "even sides"),
        ("-?size=4x4&fps=0", "fps: expected"),
        ("-?size=4x4&fps=fast", "got 'fast'"),
        ("-?size=4x4&fps=nan", "got 'nan'"),
        ("-?sise=4x4", "sise is no option of .*, the nearest is size"),
        ("-?size", "expected .NAME=VALUE"),
        ("csi://0?format=rgb24", "format is no option"),
        ("v4l2:///dev/video0?format=a,b", "a name such as mjpeg"),
    ],
)
def test_what_is_not(given: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_source(given)
    assert "\n" not in str(caught.value)


def test_a_camera_does_not_loop() -> None:
    with pytest.raises(UsageError, match="--loop is for files"):
        open_source("http://127.0.0.1:1/", threading.Event(), loop=True)


def test_a_list_holds_pictures_and_films_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("z.png", "deep/a.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    write_film(tmp_path / "12:30.mkv", 2)
    file = tmp_path / "list.txt"
    file.write_text(f"# flight 1\nz.png\n\n12:30.mkv\n{tmp_path}/deep/a.png\ngone.png\n")
    said: list[str] = []
    frames = list(
        open_source(str(file), threading.Event()).frames(lambda error: said.append(str(error)))
    )
    assert [(one.index, one.name) for one in frames] == [
        (0, "z.png"),
        (1, "12:30.mkv@0.000s"),
        (2, "12:30.mkv@0.100s"),
        (3, "a.png"),
    ]
    (line,) = said
    assert line.startswith(f"{tmp_path}/gone.png")


@pytest.mark.parametrize(("content", "says"), [(b"# none\n", "got none"), (b"\xff\n", "list of")])
def test_a_list_of_nothing(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UsageError, match=says):
        open_source(str(tmp_path / "list.txt"), threading.Event())
