"""How long each stage takes, frame by frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

Stage: TypeAlias = Literal["capture", "letterbox", "engine", "slice+encode", "spool"]
STAGES: tuple[Stage, ...] = get_args(Stage)

OUTSIDE: tuple[Stage, ...] = ("letterbox", "slice+encode", "spool")
"""What a frame costs a device besides the engine; capture is the camera's or the file's."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage over all frames but the first.

    Attributes:
        frames: How many were timed.
        wall_ms: Wall time of all of them.
        cpu_ms: Time of the stage's own thread on a core, of all of them; an engine's further
            threads are not in it.
        longest_ms: The longest wall time.
        first_ms: Wall time of the first frame, in which libraries compile and allocate.
    """

    frames: int = 0
    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    longest_ms: float = 0.0
    first_ms: float = 0.0

    @property
    def mean_ms(self) -> float:
        """Wall time of a frame; that of the first if there was no other."""
        return self.wall_ms / self.frames if self.frames else self.first_ms

    @property
    def mean_cpu_ms(self) -> float:
        """CPU time of a frame, the first not counted."""
        return self.cpu_ms / self.frames if self.frames else 0.0


class Timings:
    """Adds up; each stage is timed by one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[Stage, StageTime] = dict.fromkeys(STAGES, StageTime())
        self._begun: set[Stage] = set()
        self._entered_s: dict[Stage, float] = {}

    @contextmanager
    def of(self, stage: Stage) -> Iterator[None]:
        """Time what happens inside; what raises isn't counted."""
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        self._entered_s[stage] = time.monotonic()
        try:
            yield
        finally:
            del self._entered_s[stage]
        self.add(stage, (time.perf_counter() - wall_s) * 1e3, (time.thread_time() - cpu_s) * 1e3)

    def add(self, stage: Stage, wall_ms: float, cpu_ms: float) -> None:
        """Count one frame."""
        with self._lock:
            now = self._times[stage]
            if stage not in self._begun:
                self._begun.add(stage)
                self._times[stage] = replace(now, first_ms=wall_ms)
                return
            self._times[stage] = replace(
                now,
                frames=now.frames + 1,
                wall_ms=now.wall_ms + wall_ms,
                cpu_ms=now.cpu_ms + cpu_ms,
                longest_ms=max(now.longest_ms, wall_ms),
            )

    def stuck_s(self) -> float:
        """How long the stage that is slowest now has been at its frame; 0 if none is at any."""
        entered_s = list(self._entered_s.values())
        return time.monotonic() - min(entered_s) if entered_s else 0.0

    def times(self) -> dict[Stage, StageTime]:
        """How it stands."""
        with self._lock:
            return dict(self._times)


def outside_over_engine(times: dict[Stage, StageTime], *, cpu: bool = False) -> float | None:
    """Device time outside the engine over engine time, or None before both were timed.

    Args:
        times: Of all stages.
        cpu: By CPU time, which a busy machine doesn't stretch; right for an engine of one thread.
    """
    mean = {stage: t.mean_cpu_ms if cpu else t.mean_ms for stage, t in times.items()}
    if not (times["engine"].frames and mean["engine"]):
        return None
    return sum(mean[stage] for stage in OUTSIDE) / mean["engine"]
