"""Files that behave like a camera: one after the other, again and again, and no faster than it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence

from sparsight.errors import PictureError
from sparsight_edge.capture.source import NS_PER_S, Captured, Report, Source


class Chained:
    """Sources one after the other, counted through."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """One source of these."""
        self.sources = tuple(sources)

    def frames(self, report: Report) -> Iterator[Captured]:
        """The frames of each."""
        index = 0
        for source in self.sources:
            for one in source.frames(report):
                yield dataclasses.replace(one, index=index)
                index += 1


class Looped:
    """A source that begins anew when it ends, until a whole round gives nothing."""

    def __init__(self, source: Source) -> None:
        """Loop over this source."""
        self.source = source

    def frames(self, report: Report) -> Iterator[Captured]:
        """Frames of round after round, counted through; what is bad is said in the first only."""
        index, first = 0, True
        while True:
            before = index
            for one in self.source.frames(report if first else _silent):
                yield dataclasses.replace(one, index=index)
                index += 1
            first = False
            if index == before:
                return


class Paced:
    """A source that gives a frame every 1/fps seconds at most, stamped with that moment.

    Whoever is slow gets the next frame when asking for it: there is no burst to catch up.
    """

    def __init__(self, source: Source, fps: float, stop: threading.Event) -> None:
        """Pace this source.

        Args:
            source: What to pace.
            fps: Frames a second, above 0.
            stop: Ends the waiting, and with it the source.
        """
        self.source = source
        self.period_s = 1 / fps
        self.stop = stop

    def frames(self, report: Report) -> Iterator[Captured]:
        """Frames at the pace."""
        due_s = time.monotonic()
        for one in self.source.frames(report):
            if self.stop.wait(max(0.0, due_s - time.monotonic())):
                return
            now_s = time.monotonic()
            late_ns = int((now_s - due_s) * NS_PER_S)
            if late_ns >= self.period_s * NS_PER_S:
                due_s, late_ns = now_s, 0
            yield dataclasses.replace(one, captured_unix_ns=time.time_ns() - late_ns)
            due_s += self.period_s


def _silent(error: PictureError) -> None:
    """It was said before."""
