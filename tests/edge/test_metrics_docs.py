"""Every figure for Prometheus is written down, and what is written down is there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from sparsight_edge.capture.outages import CameraStats
from sparsight_edge.metrics import PREFIX, AgentCollector
from sparsight_edge.rate.pilot import RateStats
from sparsight_edge.timings import STAGES, StageTime

from .small.figures import NOTHING_YET

DOCS = Path(__file__).resolve().parents[2] / "docs" / "edge.md"
FULL = replace(
    NOTHING_YET,
    times=dict.fromkeys(STAGES, StageTime(frames=1, wall_ms=1.0)),
    camera=replace(CameraStats(), state="up"),
    rate=RateStats(adaptive=True, goodput_kbps=1.0),
    link_kbps=1.0,
)


def test_the_docs_name_what_is_served() -> None:
    served = list(AgentCollector(lambda: FULL).collect())
    names = {one.name.removeprefix(f"{PREFIX}_") for one in served}
    text = DOCS.read_text()
    table = text[text.index("| metric, below") : text.index("## The doctor")]
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    told = {
        name.removesuffix("_total")
        for row in rows
        for name in re.findall(r"`(\w+)(?:\{\w+\})?`", row)
    }
    assert told == names
    frames = next(one for one in served if one.name == f"{PREFIX}_frames")
    (said,) = (line.split("|")[2] for line in table.splitlines() if "`frames_total" in line)
    events = re.sub(r"\(.*?\)", "", said).replace(" ", "").split(",")
    assert events == [sample.labels["event"] for sample in frames.samples]
