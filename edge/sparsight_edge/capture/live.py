"""A camera as a source: read beside the agent, never behind the camera, opened anew when lost.

    camera ─ decode ─> line of one shot ─> RGB ─> Captured
      ^  reader thread    newest wins      capture thread
      └── wait, longer from time to time <── lost: an end, an error, silence

In the mode of every frame the line makes the reader wait instead, and the camera with it.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator

from sparsight.errors import PictureError
from sparsight_edge.backoff import Backoff
from sparsight_edge.capture.camera import Camera, CameraLostError, CameraSettings, Shot
from sparsight_edge.capture.outages import Outages
from sparsight_edge.capture.source import NS_PER_S, Captured, Report
from sparsight_edge.line import Line
from sparsight_edge.telemetry.table import LiveTable

_LOOK_S = 0.05
_JOIN_S = 0.5


class LiveSource:
    """Frames of one camera until it is stopped.

    Attributes:
        camera: Gives shots.
        latest: The newest shot wins; else all are taken, and the camera waits.
        fps: Shots to take of a second; None takes all.
    """

    def __init__(
        self,
        camera: Camera,
        stop: threading.Event,
        outages: Outages,
        *,
        latest: bool,
        fps: float | None = None,
        settings: CameraSettings | None = None,
        table: LiveTable | None = None,
    ) -> None:
        """A source of this camera, which is not opened yet.

        Args:
            camera: Gives shots.
            stop: Ends it, waiting or not.
            outages: Told how the camera fares.
            latest: The newest shot wins.
            fps: Shots to take of a second; None takes all.
            settings: How patient to be.
            table: Where the camera was; closed at the end.
        """
        self.camera = camera
        self.latest = latest
        self.fps = fps
        self._stop = stop
        self._outages = outages
        self._settings = settings or CameraSettings()
        self._table = table

    def frames(self, report: Report) -> Iterator[Captured]:
        """Frames as they come; ends with `stop`, or with a camera that does not return."""
        reader = _Reader(self.camera, self._outages, self.latest, self.fps, self._settings)
        try:
            index = 0
            while (shot := self._take(reader)) is not None:
                begin_s = time.perf_counter()
                frame = shot.rgb()
                read_ms = (time.perf_counter() - begin_s) * 1e3
                name = f"{self.camera.name}@{_at(shot.captured_unix_ns)}"
                where = None
                if self._table is not None:
                    where = self._table.at(shot.captured_unix_ns / NS_PER_S)
                yield Captured(frame, shot.captured_unix_ns, name, index, read_ms, where)
                index += 1
            if isinstance(reader.failure, PictureError):
                report(reader.failure)
            elif reader.failure is not None:
                raise reader.failure
        finally:
            reader.close()
            if self._table is not None:
                self._table.close()

    def _take(self, reader: _Reader) -> Shot | None:
        begin_s, silent_s = time.monotonic(), self._settings.silent_s
        while not self._stop.is_set():
            try:
                return reader.line.take(_LOOK_S)
            except TimeoutError:
                # A driver may sit in a call that no time-out reaches: then this is what tells. Both
                # are looked at, since a camera may have had to wait for whoever takes frames.
                waited_s = min(time.monotonic() - begin_s, self._outages.silent_s())
                if self.camera.returns and waited_s > silent_s + 1:
                    self._outages.lost(f"no frame for {silent_s:g} s")
        return None


class _Reader:
    """The thread that reads.

    Attributes:
        line: Where shots lie until they are taken.
        failure: What ended it, if not the camera's end.
    """

    def __init__(
        self,
        camera: Camera,
        outages: Outages,
        latest: bool,
        fps: float | None,
        settings: CameraSettings,
    ) -> None:
        self.line: Line[Shot] = Line(1, newest_wins=latest)
        self.failure: Exception | None = None
        self._camera = camera
        self._outages = outages
        self._fps = fps
        self._backoff = Backoff(*settings.wait_s)
        self._closing = threading.Event()
        self._due_ns = self._passed = 0
        self._thread = threading.Thread(target=self._guard, name="camera", daemon=True)
        if camera.returns:
            outages.opening(camera.name)
        self._thread.start()

    def close(self) -> None:
        """End the thread; one that hangs in a driver is left behind."""
        self._closing.set()
        self.line.abandon()
        self._thread.join(_JOIN_S)

    def _guard(self) -> None:
        try:
            self._read()
        except Exception as error:  # the capture thread says it
            self.failure = error
        finally:
            self.line.end()

    def _read(self) -> None:
        while not self._closing.is_set():
            why = "its stream ended"
            shots = self._camera.shots(self._closing.is_set)
            try:
                for shot in shots:
                    if not self._saw(shot):
                        return
            except CameraLostError as error:
                why = str(error)
            finally:
                if (close := getattr(shots, "close", None)) is not None:
                    close()
            if self._closing.is_set() or not self._camera.returns:
                return
            self._outages.lost(why)
            self._closing.wait(self._backoff.next_s())

    def _saw(self, shot: Shot) -> bool:
        """Hand a shot on; False if nobody wants any more."""
        self._backoff.reset()
        self._passed += shot.passed
        if self._camera.returns:
            self._outages.frame(self.line.skipped + self._passed)
        if self._due(shot) and not self.line.put(shot):
            return False
        return not self._closing.is_set()

    def _due(self, shot: Shot) -> bool:
        if self._fps is None:
            return True
        period_ns = int(NS_PER_S / self._fps)
        # A tenth's grace, or time stamps that tremble would skip every other frame.
        if shot.captured_unix_ns + period_ns // 10 < self._due_ns:
            return False
        self._due_ns += period_ns
        if self._due_ns <= shot.captured_unix_ns:  # the first, or after a gap: no burst to catch up
            self._due_ns = shot.captured_unix_ns + period_ns
        return True


def _at(unix_ns: int) -> str:
    """A time for people, to the millisecond."""
    at = datetime.datetime.fromtimestamp(unix_ns / NS_PER_S, datetime.timezone.utc)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
