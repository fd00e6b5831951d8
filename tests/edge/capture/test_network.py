"""Network cameras against real servers in processes of their own."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pytest

from sparsight.errors import PictureError
from sparsight_edge.capture.camera import CameraSettings
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.outages import Outages
from sparsight_edge.capture.source import Captured

from .films import write_film
from .servers import CameraServer

Kind: TypeAlias = Literal["mjpeg", "rtsp"]
KINDS: tuple[Kind, ...] = ("mjpeg", "rtsp")
QUICK = CameraSettings(silent_s=1.5, wait_s=(0.1, 0.5))


class Viewer:
    """Looks at a camera."""

    def __init__(self, address: str, *, max_pixels: int = 1_000_000, **options: object) -> None:
        self.stop = threading.Event()
        self.said: list[str] = []
        self.unreadable: list[str] = []
        self.outages = Outages(self.said.append)
        self.source = open_source(
            address,
            self.stop,
            outages=self.outages,
            camera=QUICK,
            max_pixels=max_pixels,
            **options,  # type: ignore[arg-type]
        )
        self.frames: Iterator[Captured] = self.source.frames(
            lambda error: self.unreadable.append(str(error))
        )

    def close(self) -> None:
        self.frames.close()  # type: ignore[attr-defined]
        assert "camera" not in {thread.name for thread in threading.enumerate()}


def url(kind: Kind, server: CameraServer, account: str = "") -> str:
    scheme = "rtsp" if kind == "rtsp" else "http"
    return f"{scheme}://{account}127.0.0.1:{server.port}/live"


def until(true: object, seconds: float = 60) -> None:
    end_s = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_with_the_stream_s_times(kind: Kind) -> None:
    with CameraServer(kind) as server:
        viewer = Viewer(url(kind, server), latest=False)
        seen = [next(viewer.frames) for _ in range(25)]
        viewer.close()
    assert [one.index for one in seen] == list(range(25))
    assert all(one.frame.shape == (96, 128, 3) for one in seen)
    stamps = np.array([one.captured_unix_ns for one in seen])
    assert abs(time.time_ns() - stamps[-1]) < 20e9
    steps = np.diff(stamps)[5:]  # at first the shortest delay is still being found
    assert steps.min() >= 0
    if kind == "rtsp":  # to the tick, however late packets came; MJPEG has no times
        np.testing.assert_allclose(steps, 50e6, atol=2e6)
    assert seen[0].name.startswith(url(kind, server) + "@20") and seen[0].name.endswith("Z")


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_taker_sees_the_newest_and_the_rest_is_counted(kind: Kind) -> None:
    with CameraServer(kind) as server:
        viewer = Viewer(url(kind, server))
        next(viewer.frames)
        behind_s = []
        for _ in range(5):
            time.sleep(0.4)  # eight frames
            behind_s.append((time.time_ns() - next(viewer.frames).captured_unix_ns) / 1e9)
        # In order they would come later and later, by 0.35 s each.
        assert max(behind_s) < 1.0
        assert viewer.outages.stats().missed >= 15
        assert viewer.outages.stats().outages == 0
        viewer.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_camera_that_dies_in_mid_stream_comes_back(kind: Kind) -> None:
    with CameraServer(kind) as server:
        viewer = Viewer(url(kind, server))
        for _ in range(5):
            before = next(viewer.frames)
        server.kill()
        until(lambda: viewer.outages.stats().state == "lost")
        dead_s = time.monotonic()
        time.sleep(0.7)
        again_ns = time.time_ns()
        server.start()
        after = next(one for one in viewer.frames if one.captured_unix_ns > again_ns)
        stats = viewer.outages.stats()
        assert (stats.state, stats.outages) == ("up", 1)
        assert 0.7 <= stats.outage_s <= time.monotonic() - dead_s + 5
        assert after.captured_unix_ns - before.captured_unix_ns > 0.7e9
        assert after.index > before.index
        assert "lost (" in viewer.said[0] and "back after" in viewer.said[1]
        assert len(viewer.said) == 2 and viewer.unreadable == []
        viewer.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_camera_that_freezes_is_noticed(kind: Kind) -> None:
    with CameraServer(kind) as server:
        viewer = Viewer(url(kind, server))
        next(viewer.frames)
        server.freeze()
        waiting = threading.Thread(target=lambda: list(viewer.frames), daemon=True)
        waiting.start()
        until(lambda: viewer.outages.stats().state == "lost", 20)
        stats = viewer.outages.stats()
        assert stats.outage_s >= QUICK.silent_s - 0.5
        assert "for 1.5 s" in stats.reason
        server.thaw()
        until(lambda: viewer.outages.stats().state == "up")
        viewer.stop.set()
        waiting.join(5)
        assert not waiting.is_alive()


def test_a_camera_that_is_not_there_yet_and_a_stop_at_once() -> None:
    with CameraServer("mjpeg") as server:
        server.kill()
        viewer = Viewer(url("mjpeg", server))
        waiting = threading.Thread(target=lambda: list(viewer.frames), daemon=True)
        waiting.start()
        until(lambda: "refused" in viewer.outages.stats().reason.lower())
        viewer.stop.set()
        begin_s = time.monotonic()
        waiting.join(30)
        assert time.monotonic() - begin_s < 2 and not waiting.is_alive()
    assert viewer.unreadable == []


def test_a_password_opens_and_is_not_shown() -> None:
    with CameraServer("rtsp", "joe:secret") as server:
        viewer = Viewer(url("rtsp", server, "joe:secret@"))
        assert next(viewer.frames).name.startswith(f"rtsp://127.0.0.1:{server.port}/live@")
        viewer.close()
        viewer = Viewer(url("rtsp", server, "joe:guessed@"))
        threading.Thread(target=lambda: list(viewer.frames), daemon=True).start()
        until(lambda: viewer.outages.stats().state == "lost")
        viewer.stop.set()
        assert "401" in viewer.said[0] and "guessed" not in viewer.said[0]


def test_frames_over_the_limit_end_the_source() -> None:
    with CameraServer("mjpeg") as server:
        viewer = Viewer(url("mjpeg", server), max_pixels=1000)
        assert list(viewer.frames) == []
    (line,) = viewer.unreadable
    assert "128x96 is over the limit" in line


def test_a_pace_takes_so_many_of_a_second() -> None:
    with CameraServer("rtsp") as server:
        viewer = Viewer(url("rtsp", server), fps=5.0, latest=False)
        stamps = [next(viewer.frames).captured_unix_ns for _ in range(8)]
        viewer.close()
    np.testing.assert_allclose(np.diff(stamps)[2:], 0.2e9, atol=0.03e9)


def test_a_film_on_a_web_server_is_a_film(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mkv", 12)
    handler = partial(Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://joe:secret@127.0.0.1:{server.server_port}/a.mkv"
        frames = list(open_source(address, threading.Event()).frames(no_trouble))
        server.shutdown()
    assert [one.index for one in frames] == list(range(12))
    assert frames[3].name == "a.mkv@0.300s"


def no_trouble(error: PictureError) -> None:
    raise error


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Not to stderr."""
