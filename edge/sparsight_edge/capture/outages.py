"""How a camera fares: up or lost, how often and for how long, and what nobody had time for.

reader thread ── frame(), lost() ──> Outages ── stats() ──> Progress, Prometheus, summary
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

CameraState: TypeAlias = Literal["none", "opening", "up", "lost"]


@dataclass(frozen=True, slots=True)
class CameraStats:
    """A camera in figures.

    Attributes:
        state: `none` if the source is no camera.
        reason: Why it is lost.
        outages: Times it was lost, the one that lasts included.
        outage_s: How long it was, from the last frame to the next, in all.
        missed: Frames that it gave and that made room for newer ones before anyone looked.
    """

    state: CameraState = "none"
    reason: str = ""
    outages: int = 0
    outage_s: float = 0.0
    missed: int = 0


class Outages:
    """The ledger of one source; any thread may ask."""

    def __init__(
        self,
        tell: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing happened yet, and the source may be no camera.

        Args:
            tell: Told when a camera is lost and when it is back, in one line for people.
            clock: Gives seconds.
        """
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._name = ""
        self._state: CameraState = "none"
        self._reason = ""
        self._outages = self._missed = 0
        self._over_s = 0.0
        self._seen_s = clock()

    def opening(self, name: str) -> None:
        """A camera is opened for the first time."""
        with self._lock:
            self._name, self._state, self._seen_s = name, "opening", self._clock()

    def frame(self, missed: int) -> None:
        """A frame came.

        Args:
            missed: Frames that nobody looked at, so far.
        """
        line = ""
        with self._lock:
            now_s = self._clock()
            if self._state == "lost":
                self._over_s += now_s - self._seen_s
                line = f"{self._name}: back after {now_s - self._seen_s:.1f} s"
            self._state, self._reason = "up", ""
            self._seen_s, self._missed = now_s, missed
        if line:
            self._tell(line)

    def lost(self, why: str) -> None:
        """No frames come; said again, only the reason is new."""
        line = ""
        with self._lock:
            if self._state != "lost":
                self._outages += 1
                line = f"{self._name}: lost ({why}); it is opened again until it is back"
            self._state, self._reason = "lost", why
        if line:
            self._tell(line)

    def silent_s(self) -> float:
        """Since the last frame, or since the camera was first opened."""
        with self._lock:
            return self._clock() - self._seen_s

    def stats(self) -> CameraStats:
        """How it stands."""
        with self._lock:
            lasting_s = self._clock() - self._seen_s if self._state == "lost" else 0.0
            return CameraStats(
                self._state, self._reason, self._outages, self._over_s + lasting_s, self._missed
            )
