"""A machine's clocks, moved by hand."""

from __future__ import annotations

from sparsight_edge.spool.clock import SpoolClock

NOON = 1_800_000_000.0


class Clocks:
    """A machine's two clocks, moved by hand."""

    def __init__(self, unix_s: float = NOON) -> None:
        self.wall_s = unix_s
        self.running_s = 1000.0

    def pass_s(self, seconds: float) -> None:
        self.wall_s += seconds
        self.running_s += seconds

    def boot(self) -> SpoolClock:
        return SpoolClock(lambda: self.wall_s, lambda: self.running_s)
