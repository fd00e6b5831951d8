"""An agent in figures: what became of its frames so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from sparsight_edge.capture.outages import CameraStats
from sparsight_edge.rate.pilot import RateStats
from sparsight_edge.spool.stats import SpoolStats
from sparsight_edge.timings import Stage, StageTime
from sparsight_edge.uplink.ledger import UplinkStats


@dataclass(frozen=True, slots=True)
class Progress:
    """An agent in figures.

    Attributes:
        seconds: Since its start.
        captured: Frames that came from the source.
        unreadable: Frames that could not be had.
        skipped: Frames that made room for newer ones.
        payload_bytes: The codec's bytes of the spooled frames.
        patches: Their patches.
        kept_area: Share of the frames' area under them, added up over the frames.
        spool: The spool.
        uplink: The link.
        times: Of each stage.
        camera: How the camera fares, if the source is one.
        stuck_s: How long the slowest stage has been at the frame that it is at.
        rate: How the rate control stands.
        link_kbps: What left the machine in the last 10 s, if it is counted.
    """

    seconds: float
    captured: int
    unreadable: int
    skipped: int
    payload_bytes: int
    patches: int
    kept_area: float
    spool: SpoolStats
    uplink: UplinkStats
    times: dict[Stage, StageTime]
    camera: CameraStats = field(default_factory=CameraStats)
    stuck_s: float = 0.0
    rate: RateStats = field(default_factory=RateStats)
    link_kbps: float | None = None

    @property
    def unspooled(self) -> int:
        """Frames on their way to the spool; at the end, those that a stop kept from it."""
        skipped = self.skipped + self.rate.skipped
        return self.captured - skipped - self.spool.appended - self.spool.dropped_new
