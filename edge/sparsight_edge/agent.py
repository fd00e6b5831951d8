"""The device's program: camera to cloud, every stage in a thread of its own.

    source ─ letterbox ─[1]─ engine ─[1]─ slice, encode ─ spool ~~~ uplink <──> cloud
       capture thread      engine thread    coding thread   disk    its threads

Between two threads lies a line of one frame, so that memory is bounded and each stage overlaps with
its neighbours; a source may let the newest frame win instead of waiting. What was spooled is either
answered or still on disk when the agent ends, however it ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from sparsight.errors import PictureError, UsageError
from sparsight.geometry import Letterbox
from sparsight.wire import FrameKey, Telemetry
from sparsight_edge.capture.outages import Outages
from sparsight_edge.capture.source import Captured, Source
from sparsight_edge.coding import Coder, Seen
from sparsight_edge.line import Line
from sparsight_edge.model import EdgeModel
from sparsight_edge.progress import Progress
from sparsight_edge.rate.ladder import RateLimits
from sparsight_edge.rate.pilot import Pilot
from sparsight_edge.records import Records
from sparsight_edge.spool.spool import Spool
from sparsight_edge.steady import Steady
from sparsight_edge.timings import Timings
from sparsight_edge.uplink.uplink import Uplink

_SYNC_S = 1.0
_DRAIN_LOOK_S = 0.05
_CAPTURE, _ENGINE = "capture", "engine"
_MAY_HANG = (_CAPTURE, _ENGINE)
_HUNG_S = 1.0


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """How an agent runs.

    Attributes:
        stream: Name of the source in what is sent.
        max_frames: Frames to capture, then end; None for all.
        newest_wins: A frame that the engine has no time for makes room for the next.
        drain_s: After the last frame, how long to wait while no answer comes.
        grace_s: After a stop, how long to wait for answers in all.
        watch_s: How often `watch` is called.
    """

    stream: str = "main"
    max_frames: int | None = None
    newest_wins: bool = False
    drain_s: float = 60.0
    grace_s: float = 5.0
    watch_s: float = 0.25


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A frame as the network's input."""

    image: UInt8[np.ndarray, "h w 3"]
    box: Letterbox
    name: str
    captured_unix_ns: int
    telemetry: Telemetry | None


@dataclass(slots=True)
class _Counts:
    """Each is written by one thread."""

    captured: int = 0
    unreadable: int = 0
    payload_bytes: int = 0
    patches: int = 0
    kept_area: float = 0.0


@dataclass(slots=True)
class Stops:
    """How an agent is asked to end.

    Attributes:
        soon: Capture no more, spool what is on its way, wait a little for answers.
        now: Don't wait for answers.
    """

    soon: threading.Event = field(default_factory=threading.Event)
    now: threading.Event = field(default_factory=threading.Event)


class Agent:
    """Runs once."""

    def __init__(
        self,
        source: Source,
        model: EdgeModel,
        spool: Spool,
        uplink: Uplink,
        settings: AgentSettings,
        stops: Stops,
        *,
        report: Callable[[PictureError], None] = lambda error: None,
        records: Records | None = None,
        outages: Outages | None = None,
        steady: Steady | None = None,
        pilot: Pilot | None = None,
    ) -> None:
        """An agent that does nothing yet.

        Args:
            source: Where frames come from.
            model: The device half.
            spool: Where coded frames go; the uplink's.
            uplink: What sends them; not started yet.
            settings: How to run.
            stops: How to end.
            report: Told of frames that can't be had, in the capture thread.
            records: Where frames are written down; None writes nothing.
            outages: The source's ledger, if it is a camera.
            steady: Holds what does not change; None tells every frame as it is.
            pilot: Chooses what each frame may cost; None takes all at the model's rate.
        """
        self.source = source
        self.model = model
        self.spool = spool
        self.uplink = uplink
        self.settings = settings
        self.stops = stops
        self.report = report
        self.records = records
        self.outages = outages or Outages()
        self.pilot = pilot or Pilot.fixed(model.rate)
        self._coder = Coder(model, self.pilot, steady, uplink.pacer)
        self._timings = Timings()
        self._counts = _Counts()
        self._begin_s = time.monotonic()
        self._fitted: Line[_Fitted] = Line(1, newest_wins=settings.newest_wins)
        self._seen: Line[Seen] = Line(1)
        self._failure: BaseException | None = None
        self._coded = threading.Event()

    def run(self, watch: Callable[[Progress], None] = lambda progress: None) -> Progress:
        """Run until the source ends and everything is answered, or until it is stopped.

        Args:
            watch: Told how it stands, several times a second, in this thread.

        Returns:
            How it stood at the end; `spool.left` frames are still on disk.

        Raises:
            SparsightError: The first of a stage's; the spool holds what it held.
        """
        self._begin_s = time.monotonic()
        stages = [
            threading.Thread(target=self._guard, args=(stage,), name=name, daemon=True)
            for name, stage in (
                ("coding", self._code_frames),
                (_ENGINE, self._run_engine),
                (_CAPTURE, self._capture),
            )
        ]
        self.uplink.start()
        for thread in stages:
            thread.start()
        try:
            self._wait(watch)
        finally:
            self.stops.soon.set()
            self._fitted.abandon()
            self._seen.abandon()
            for thread in stages:
                self._join(thread)
            self.uplink.stop()
        self.spool.settle()
        watch(progress := self.progress())
        if failure := self._failure or self.uplink.failure:
            raise failure
        return progress

    def progress(self) -> Progress:
        """How it stands; from any thread."""
        counts = self._counts
        return Progress(
            seconds=time.monotonic() - self._begin_s,
            captured=counts.captured,
            unreadable=counts.unreadable,
            skipped=self._fitted.skipped,
            payload_bytes=counts.payload_bytes,
            patches=counts.patches,
            kept_area=counts.kept_area,
            spool=self.spool.stats(),
            uplink=self.uplink.stats(),
            times=self._timings.times(),
            camera=self.outages.stats(),
            stuck_s=self._timings.stuck_s(),
            rate=self.pilot.stats(),
            link_kbps=None if self.uplink.pacer is None else self.uplink.pacer.kbps(),
        )

    def keep_to(self, limits: RateLimits | None, max_kbps: float | None) -> None:
        """Other limits of rate and link from now on; from any thread.

        Args:
            limits: What the rate control keeps to, from `plan.rate_limits`; None of a fixed rate.
            max_kbps: What may be sent at most.

        Raises:
            UsageError: The limits leave nothing, or the promise would be switched on or off, which
                takes another connection; all stays as it was.
        """
        pacer = self.uplink.pacer
        if (pacer is None) != (max_kbps is None):
            raise UsageError("max_kbps: can be changed while an agent runs, but not given or taken")
        rates = self.model.tables.rates
        if limits is not None:  # refused before anything is changed
            limits.ladder(rates, may_skip=False)
        if pacer is not None and max_kbps is not None:
            pacer.change(max_kbps)
        if limits is not None:
            self.pilot.change(limits, rates, max_kbps=max_kbps)

    def _wait(self, watch: Callable[[Progress], None]) -> None:
        """Until all is done, or there is no use in waiting longer."""
        synced_s = moved_s = time.monotonic()
        moved = (-1, -1)
        stopped_s: float | None = None
        while not (self._failure or self.uplink.failure):
            now_s = time.monotonic()
            if now_s - synced_s > _SYNC_S:
                self.spool.sync()
                synced_s = now_s
            self.pilot.look(self.spool.stats(), self.uplink.stats())
            watch(progress := self.progress())
            if self.stops.now.is_set():
                return
            if self.stops.soon.is_set():
                stopped_s = stopped_s or now_s
            if not self._coded.wait(self.settings.watch_s):
                if stopped_s is not None and now_s - stopped_s > self.settings.grace_s + _HUNG_S:
                    self.stops.now.set()  # a stage hangs, and no second signal may come
                continue
            # What is answered, or sent at all, shows that waiting is of use.
            if (now := (progress.uplink.acknowledged, progress.uplink.sent)) != moved:
                moved, moved_s = now, now_s
            left = self.spool.stats().left
            if (
                not left
                or progress.spool.held == left
                or progress.uplink.state == "turned away"
                or now_s - moved_s > self.settings.drain_s
                or (stopped_s is not None and now_s - stopped_s > self.settings.grace_s)
            ):
                return
            time.sleep(min(self.settings.watch_s, _DRAIN_LOOK_S))

    def _join(self, stage: threading.Thread) -> None:
        """Wait for a stage's end; for a camera or engine that hangs only until `stops.now`."""
        while stage.is_alive():
            stage.join(_DRAIN_LOOK_S)
            if stage.name in _MAY_HANG and self.stops.now.is_set():
                stage.join(_HUNG_S)
                return

    def _guard(self, stage: Callable[[], None]) -> None:
        """A stage that fails ends the agent."""
        try:
            stage()
        except BaseException as error:  # the main thread raises it
            self._failure = self._failure or error
            self.stops.soon.set()
            self._fitted.abandon()
            self._seen.abandon()
            self._coded.set()

    def _capture(self) -> None:
        frames = self.source.frames(self._unreadable)
        try:
            if self.settings.max_frames == 0:
                return
            for one in frames:
                if self.stops.soon.is_set():
                    return
                self._counts.captured += 1
                self._timings.add("capture", one.read_ms, 0.0)
                if self.pilot.take():
                    with self._timings.of("letterbox"):
                        fitted = self._fit(one)
                    if not self._fitted.put(fitted):
                        return
                if self._counts.captured == self.settings.max_frames:
                    return
        finally:
            if (close := getattr(frames, "close", None)) is not None:
                close()
            self._fitted.end()

    def _fit(self, one: Captured) -> _Fitted:
        box, image = self.model.fit(one.frame)
        return _Fitted(image, box, one.name, one.captured_unix_ns, one.telemetry)

    def _unreadable(self, error: PictureError) -> None:
        self._counts.unreadable += 1
        self.report(error)

    def _run_engine(self) -> None:
        try:
            while (one := self._fitted.take()) is not None:
                choice = self.pilot.choice()
                with self._timings.of("engine"):
                    maps = self.model.engine.run(one.image, choice.rate)
                seen = Seen(maps, choice, one.box, one.name, one.captured_unix_ns, one.telemetry)
                if not self._seen.put(seen):
                    return
        finally:
            self._seen.end()

    def _code_frames(self) -> None:
        while (one := self._seen.take()) is not None:
            with self._timings.of("slice+encode"):
                coded = self._coder.code(one)
                key = FrameKey(self.spool.device, self.spool.epoch, self.spool.next_seq)
                message = one.message(coded, key, self.settings.stream)
            if self.records is not None:
                # Before the frame can be sent, so that no answer is without it.
                self.records.frame(one.line(coded, key))
            if not self._append(message):
                continue
            self._counts.payload_bytes += len(coded.payload)
            self._counts.patches += coded.patches
            self._counts.kept_area += coded.kept_area
            self.uplink.nudge()
        self._coded.set()

    def _append(self, message: bytes) -> bool:
        """Spool a frame; waiting for room is not the spool's time."""
        wall_s, cpu_s, waited_s = time.perf_counter(), time.thread_time(), self.spool.waited_s
        if self.spool.append(message, self.stops.soon) is None:
            return False
        wall_s = time.perf_counter() - wall_s - (self.spool.waited_s - waited_s)
        self._timings.add("spool", wall_s * 1e3, (time.thread_time() - cpu_s) * 1e3)
        return True
