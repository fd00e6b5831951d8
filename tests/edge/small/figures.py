"""An agent in figures, where nothing has happened yet."""

from sparsight_edge.progress import Progress
from sparsight_edge.spool.stats import SpoolStats
from sparsight_edge.timings import Timings
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
