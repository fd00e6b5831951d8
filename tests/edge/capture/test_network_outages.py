"""Network cameras that die, freeze, come late or say nothing, and come back."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from .servers import CameraServer
from .viewer import KINDS, QUICK, Kind, Viewer, until, url


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


def test_a_camera_that_is_not_plugged_in() -> None:
    viewer = Viewer("v4l2:///dev/nocamera?size=640x480&fps=30&format=mjpeg")
    waiting = threading.Thread(target=lambda: list(viewer.frames), daemon=True)
    waiting.start()
    until(lambda: viewer.outages.stats().state == "lost")
    viewer.stop.set()
    waiting.join(30)
    assert "No such file or directory" in viewer.said[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_camera_that_takes_the_call_and_says_nothing(kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        scheme = "rtsp" if kind == "rtsp" else "http"
        viewer = Viewer(f"{scheme}://127.0.0.1:{deaf.getsockname()[1]}/")
        waiting = threading.Thread(target=lambda: list(viewer.frames), daemon=True)
        waiting.start()
        until(lambda: viewer.outages.stats().state == "lost", 20)
        assert viewer.outages.stats().reason in ("no answer for 1.5 s", "no frame for 1.5 s")
        viewer.stop.set()
        begin_s = time.monotonic()
        waiting.join(30)
        assert time.monotonic() - begin_s < 2 and not waiting.is_alive()
