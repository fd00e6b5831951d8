"""Network cameras against real servers in processes of their own."""

from __future__ import annotations

import http.server
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trustme

from sparsight.errors import PictureError
from sparsight_edge.capture.choose import open_source

from .films import write_film
from .servers import CameraServer
from .viewer import KINDS, Kind, Viewer, until, url


@pytest.mark.parametrize(("kind", "latest"), [("mjpeg", False), ("rtsp", False), ("rtsp", True)])
def test_frames_with_the_stream_s_times(kind: Kind, latest: bool) -> None:
    with CameraServer(kind) as server:
        viewer = Viewer(url(kind, server), latest=latest)
        seen = [next(viewer.frames) for _ in range(25)]
        viewer.close()
    assert [one.index for one in seen] == list(range(25))
    assert all(one.frame.shape == (96, 128, 3) for one in seen)
    stamps = np.array([one.captured_unix_ns for one in seen])
    assert abs(time.time_ns() - stamps[-1]) < 20e9
    steps = np.diff(stamps)[5:]  # at first the shortest delay is still being found
    assert steps.min() >= 0
    if kind == "rtsp":  # to the tick, however late packets came; MJPEG has no times
        taken = np.round(steps / 50e6)  # a frame that nobody had time for is missing
        np.testing.assert_allclose(steps, 50e6 * taken, atol=2e6)
        assert taken.min() >= 1 and (latest or taken.max() == 1)
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


def test_rtsp_over_tls_whoever_signed_for_the_camera(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    pem = tmp_path / "camera.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
    with CameraServer("rtsp", "", str(pem)) as server:
        viewer = Viewer(url("rtsp", server).replace("rtsp:", "rtsps:"))
        assert next(viewer.frames).frame.shape == (96, 128, 3)
        viewer.close()


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
