"""GStreamer's program: a stand-in that is always there, and the real one where it is installed."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sparsight.errors import UsageError
from sparsight_edge.capture.camera import CameraSettings
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.gstreamer import PROGRAM
from sparsight_edge.capture.outages import Outages
from sparsight_edge.capture.source import Captured

QUICK = CameraSettings(silent_s=2.0, wait_s=(0.05, 0.1))

# Writes its words down, then behaves as the words say: so many frames, and what comes after.
STAND_IN = """#!{python}
import os, sys, time
words = sys.argv[1:]
with open({log!r}, "a") as log:
    print(os.getpid(), *words, file=log)
fd = int(words[-1].removeprefix("fd="))
if "broken" in words:
    print('WARNING: erroneous pipeline: no element "broken"')
    sys.exit(1)
print("Setting pipeline to PAUSED ...")
print("/GstPipeline:pipeline0/GstFdSink:sparsight.GstPad:sink: caps = video/x-raw, "
      "format=(string)RGB, width=(int)10, height=(int)4, framerate=(fraction)30/1", flush=True)
for i in range(5):
    os.write(fd, bytes([i]) * 32 * 4)
    time.sleep(0.01)
if "dies" in words:
    print("ERROR: from element /GstPipeline:pipeline0/GstV4l2Src:v4l2src0: Device is gone.")
    print("ERROR: pipeline doesn't want to preroll.")
    sys.exit(1)
time.sleep(100)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that the stand-in writes its words to; in the end none of it is left running."""
    program, log = tmp_path / PROGRAM, tmp_path / "words"
    program.write_text(STAND_IN.format(python=sys.executable, log=str(log)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    yield log
    for line in log.read_text().splitlines():
        assert not Path("/proc", line.split()[0]).exists()


def watch(
    given: str,
    said: list[str],
    *,
    max_pixels: int = 1_000_000,
    latest: bool | None = False,
    stop: threading.Event | None = None,
) -> tuple[Iterator[Captured], Outages]:
    outages = Outages(said.append)
    source = open_source(
        given,
        stop or threading.Event(),
        outages=outages,
        camera=QUICK,
        max_pixels=max_pixels,
        latest=latest,
    )
    return source.frames(lambda error: said.append(str(error))), outages


def test_frames_come_through_the_pipe_and_its_death_is_an_outage(stand_in: Path) -> None:
    said: list[str] = []
    frames, outages = watch("gst://videotestsrc pattern='a b' ! dies", said)
    greys = [next(frames).frame for _ in range(12)]
    frames.close()  # type: ignore[attr-defined]
    assert [int(grey[0, 0, 0]) for grey in greys] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert greys[0].shape == (4, 10, 3)
    assert "v4l2src0: Device is gone." in said[0] and "back after" in said[1]
    assert outages.stats().outages == 2
    words = stand_in.read_text().splitlines()[0].split()[1:]
    assert words[:6] == ["-v", "videotestsrc", "pattern=a", "b", "!", "dies"]
    assert words[-2:-1] == ["sync=false"] and "leaky=no" in words


def test_a_pipeline_that_hangs_is_started_again(stand_in: Path) -> None:
    said: list[str] = []
    frames, _ = watch("gst://hangs", said)
    taken = [next(frames) for _ in range(7)]
    frames.close()  # type: ignore[attr-defined]
    assert taken[5].frame[0, 0, 0] == 0
    assert "no frame for 2 s" in said[0]


def test_a_jetson_s_camera_is_a_pipeline(stand_in: Path) -> None:
    frames, _ = watch("csi://1?size=1280x720&fps=29.97", [], latest=None)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    words = stand_in.read_text().split()
    assert words[2:4] == ["nvarguscamerasrc", "sensor-id=1"]
    assert "video/x-raw(memory:NVMM),width=1280,height=720,framerate=29970/1000" in words
    assert "leaky=downstream" in words


def test_a_pipeline_that_is_none_ends_it(stand_in: Path) -> None:
    frames, _ = watch("gst://broken", [])
    with pytest.raises(UsageError, match='erroneous pipeline: no element "broken"'):
        next(frames)


def test_frames_over_the_limit_are_never_read(stand_in: Path) -> None:
    said: list[str] = []
    frames, _ = watch("gst://large", said, max_pixels=39)
    assert list(frames) == []
    assert said == ["gst://large: 10x4 is over the limit of 3.9e-05 Mpx (--max-pixels)"]


def test_without_the_program_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match=r"apt-get install gstreamer1\.0-tools") as caught:
        open_source("csi://0", threading.Event())
    assert "\n" not in str(caught.value)


def test_an_open_quotation_mark(stand_in: Path) -> None:
    stand_in.write_text("")
    with pytest.raises(UsageError, match="quotation mark"):
        open_source("gst://videotestsrc 'a", threading.Event())


@pytest.mark.skipif(
    shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed (gstreamer1.0-tools)"
)
@pytest.mark.parametrize("width", [64, 61])  # the second's rows are padded
def test_the_real_program(width: int) -> None:
    said: list[str] = []
    caps = f"video/x-raw,width={width},height=48,framerate=30/1"
    source = f"gst://videotestsrc is-live=true pattern=blue ! {caps}"
    frames, outages = watch(source, said, latest=None)
    begin_s = time.monotonic()
    for _ in range(5):
        one = next(frames)
        assert one.frame.shape == (48, width, 3)
        np.testing.assert_array_equal(one.frame[20, width - 1], [0, 0, 255])
    assert time.monotonic() - begin_s < 30
    frames.close()  # type: ignore[attr-defined]
    assert (said, outages.stats().outages) == ([], 0)


@pytest.mark.skipif(
    shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed (gstreamer1.0-tools)"
)
def test_the_real_program_s_end_and_its_errors() -> None:
    said: list[str] = []
    frames, outages = watch("gst://videotestsrc num-buffers=3 ! video/x-raw,width=64", said)
    assert len([next(frames) for _ in range(7)]) == 7
    frames.close()  # type: ignore[attr-defined]
    assert outages.stats().outages == 2 and "its stream ended" in said[0]
    frames, _ = watch("gst://nosuchelement", [])
    with pytest.raises(UsageError, match="no element"):
        next(frames)
    said.clear()
    stop = threading.Event()
    frames, outages = watch("gst://filesrc location=/gone ! decodebin", said, stop=stop)
    waiting = threading.Thread(target=lambda: next(frames, None), daemon=True)
    waiting.start()
    end_s = time.monotonic() + 30
    while not said and time.monotonic() < end_s:
        time.sleep(0.02)
    stop.set()
    waiting.join(10)
    assert "/gone" in said[0] or "not found" in said[0].lower()
