"""An agent in figures: where nothing has happened yet, and where every figure is told."""

from dataclasses import replace

from sparsight_edge.capture.outages import CameraStats
from sparsight_edge.progress import Progress
from sparsight_edge.rate.pilot import RateStats
from sparsight_edge.spool.stats import SpoolStats
from sparsight_edge.timings import STAGES, StageTime, Timings
from sparsight_edge.uplink.ledger import UplinkStats

NOTHING_YET = Progress(
    seconds=0.0,
    captured=0,
    unreadable=0,
    skipped=0,
    payload_bytes=0,
    patches=0,
    kept_area=0.0,
    spool=SpoolStats(),
    uplink=UplinkStats(),
    times=Timings().times(),
)

FULL = replace(
    NOTHING_YET,
    times=dict.fromkeys(STAGES, StageTime(frames=1, wall_ms=1.0)),
    camera=replace(CameraStats(), state="up"),
    rate=RateStats(adaptive=True, goodput_kbps=1.0),
    link_kbps=1.0,
)
