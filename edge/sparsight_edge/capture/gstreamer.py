"""A camera through GStreamer: `gst-launch-1.0` as a child, its frames through a pipe.

    gst-launch-1.0 -v PIPELINE ! queue ! videoconvert ! RGB ! fdsink ─ pipe ─> raw frames
            └─ stdout: "... caps = video/x-raw, width=(int)640, ..." ─> their size

No binding to GStreamer is needed, only the program: a Jetson has it, and whatever hangs in a driver
hangs in a process that can be ended. Raw frames carry no time; they were taken when they came.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO

from sparsight.errors import PictureError, UsageError
from sparsight_edge.capture.camera import CameraLostError, CameraSettings, Shot
from sparsight_edge.capture.grammar import Spec
from sparsight_edge.capture.raw import Layout, read_frames
from sparsight_edge.capture.video import over_the_limit

PROGRAM = "gst-launch-1.0"
SINK = "sparsight"
"""Name of the element that frames leave by."""

_ALIGN_BYTES = 4  # GStreamer's rows
_PIPE_BYTES = 1 << 20
_END_S = 1.0
_CAPS = re.compile(rf"GstFdSink:{SINK}\.GstPad:sink: caps = video/x-raw,(.*)")
_SIDE = re.compile(r"\b(width|height)=\(int\)([0-9]{1,9})\b")
_LINE_BYTES = 1 << 16


class GstCamera:
    """Frames of a pipeline.

    Attributes:
        name: As it was typed.
        returns: It does: a pipeline that ended is started again.
    """

    returns = True

    def __init__(
        self, spec: Spec, max_pixels: int, settings: CameraSettings, *, latest: bool
    ) -> None:
        """A pipeline that is not started yet.

        Args:
            spec: Of kind `csi` or `gst`.
            max_pixels: The most pixels a frame may have; checked before one is read.
            settings: How long to wait for a frame.
            latest: The pipeline's last queue drops old frames instead of holding them.

        Raises:
            UsageError: The program is missing, or the pipeline is no text that splits into words.
        """
        program = shutil.which(PROGRAM)
        if program is None:
            raise UsageError(
                f"{spec.shown}: {PROGRAM} is not on PATH; install GStreamer, on Debian and "
                "Ubuntu: apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base "
                "gstreamer1.0-plugins-good"
            )
        self.name = spec.shown
        self._max_pixels = max_pixels
        self._silent_s = settings.silent_s
        leaky = "downstream" if latest else "no"
        self._words = [
            *(program, "-v", *_pipeline(spec)),
            *("!", "queue", "max-size-buffers=2", "max-size-bytes=0", f"leaky={leaky}"),
            *("!", "videoconvert", "!", "video/x-raw,format=RGB"),
            *("!", "fdsink", f"name={SINK}", "sync=false"),
        ]

    def shots(self, ended: Callable[[], bool]) -> Iterator[Shot]:
        """Frames of one run of the pipeline."""
        ours, theirs = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # fewer turns for a large frame
        try:
            child = _Child([*self._words, f"fd={theirs}"], theirs)
        except OSError as error:
            os.close(ours)
            raise CameraLostError(f"{PROGRAM} can't be started: {error.strerror}") from error
        finally:
            os.close(theirs)
        try:
            layout = self._layout(child, ended)
            if layout is None:
                return
            for data in read_frames(ours, layout.frame_bytes, ended, self._silent_s):
                if isinstance(data, int) or child.size_wh_px != layout.size_wh_px:
                    break
                yield Shot(partial(layout.rgb, data), time.time_ns())
            if not ended():
                raise CameraLostError(child.verdict())
        finally:
            child.end()
            os.close(ours)

    def _layout(self, child: _Child, ended: Callable[[], bool]) -> Layout | None:
        """How frames will lie in the pipe, as soon as the pipeline says it."""
        until_s = time.monotonic() + self._silent_s
        while not child.sized.wait(0.05):
            if ended():
                return None
            if not child.running:
                raise CameraLostError(child.verdict())
            if time.monotonic() > until_s:
                raise CameraLostError(f"no frame for {self._silent_s:g} s")
        if child.size_wh_px is None:
            raise CameraLostError(child.verdict())
        if problem := over_the_limit(*child.size_wh_px, self._max_pixels):
            raise PictureError(f"{self.name}: {problem}")
        return Layout(child.size_wh_px, "rgb24", _ALIGN_BYTES)


class _Child:
    """A running pipeline, and a thread that reads what it says.

    Attributes:
        sized: Set when the frames' size is known, or never will be.
        size_wh_px: The frames' size.
    """

    def __init__(self, words: list[str], fd: int) -> None:
        self.sized = threading.Event()
        self.size_wh_px: tuple[int, int] | None = None
        self._said = ""
        # A session of its own: Ctrl-C is for us, and we end it.
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(fd,),
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._thread = threading.Thread(
            target=self._listen, args=(self._process.stdout,), name="gst-launch", daemon=True
        )
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process.poll() is None

    def verdict(self) -> str:
        """Why it ended, in one line.

        Raises:
            UsageError: The pipeline is none, and never will be.
        """
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return "its frames ended or changed their size"
        self._thread.join(_END_S)
        if "erroneous pipeline" in self._said or "no element" in self._said:
            raise UsageError(f"{PROGRAM}: {self._said}")
        return self._said or ("its stream ended" if code == 0 else f"{PROGRAM} ended with {code}")

    def end(self) -> None:
        """End it, if need be by force."""
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(_END_S)

    def _listen(self, out: IO[bytes]) -> None:
        with out:
            while line := out.readline(_LINE_BYTES):
                text = line.decode(errors="replace").strip()
                if caps := _CAPS.search(text):
                    sides = {name: int(value) for name, value in _SIDE.findall(caps[1])}
                    if sides.keys() == {"width", "height"}:
                        self.size_wh_px = sides["width"], sides["height"]
                        self.sized.set()
                # The first error is the cause, those after it follow from it.
                elif not self._said and ("ERROR" in text or "erroneous pipeline" in text):
                    self._said = " ".join(text.split())[:300]
        self.sized.set()


def _pipeline(spec: Spec) -> list[str]:
    """The words of the pipeline up to where frames come out."""
    if spec.kind == "csi":
        caps = "video/x-raw(memory:NVMM)"
        if spec.size_wh_px is not None:
            caps += ",width={},height={}".format(*spec.size_wh_px)
        if spec.fps is not None:
            caps += f",framerate={round(spec.fps * 1000)}/1000"
        camera = ["nvarguscamerasrc", f"sensor-id={spec.address}"]
        return [*camera, "!", caps, "!", "nvvidconv", "!", "video/x-raw,format=BGRx"]
    try:
        return shlex.split(spec.address)
    except ValueError as error:
        raise UsageError(f"{spec.shown}: a quotation mark is left open ({error})") from error
