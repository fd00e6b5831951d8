"""Every figure for Prometheus is written down, and what is written down is there."""

from __future__ import annotations

import re
from pathlib import Path

from sparsight_edge.metrics import PREFIX, AgentCollector

from .small.figures import FULL

DOCS = Path(__file__).resolve().parents[2] / "docs" / "edge.md"


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
