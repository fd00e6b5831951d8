"""A bundle and its copies at other precisions, judged side by side.

    frames ─ letterbox ─ each graph in turn, one thread ─────────────────> engine time over fp32
    frames ─ device half of each ─ codec at one rate ─ the same deep half ─> AP, bpr, payload bytes
                                                                             └─> table, cards

One detector judges all: only its graph is exchanged, since nothing else differs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console

from sparsight.bundle import CARD, EDGE, Bundle, Precision, rewrite
from sparsight.errors import UsageError
from sparsight.geometry import Letterbox
from sparsight.graph import Graph
from sparsight.model.detector import Detector
from sparsight.pictures import letterbox
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.judge import judge
from sparsight_cloud.evaluation.run import read_labelled
from sparsight_cloud.progress import counting

TIMED = 12
"""Frames, evenly over the set, that engines are timed on."""

ROUNDS = 3
"""Runs of each engine on a frame, in turns; the quickest counts."""

HEADING = "## Precisions of the device half"


@dataclass(frozen=True, slots=True)
class Row:
    """What one precision is worth.

    Attributes:
        precision: Of the graph.
        rate: Of the codec.
        images: How many were judged.
        ap: COCO AP through the codec, from 0 to 1.
        ap50: AP at IoU 0.5.
        bpr: Share of the boxes more than half inside one patch.
        payload_bytes: Mean of a frame.
        time_ratio: CPU time of the graph over that of fp32, one thread of onnxruntime; None of one
            that is for TensorRT.
    """

    precision: Precision
    rate: int
    images: int
    ap: float
    ap50: float
    bpr: float
    payload_bytes: float
    time_ratio: float | None


def judge_precisions(
    bundles: Sequence[Bundle],
    dataset: Dataset,
    rate: int | None,
    limit: int | None,
    console: Console,
) -> list[Row]:
    """Judge each.

    Args:
        bundles: The one in fp32, then its copies.
        dataset: Labelled pictures that none of them has seen.
        rate: Of the codec; None is the bundle's default.
        limit: Judge the first pictures only.
        console: Where to show progress.

    Raises:
        UsageError: They are not copies of one bundle, or there is no such rate.
    """
    first = bundles[0].manifest
    for other in bundles:
        if not other.manifest.rates or other.manifest.cloud_id != first.cloud_id:
            raise UsageError(
                f"{other.folder}: is no copy of {bundles[0].folder}: weights, tables or steps "
                "differ; make it with `sparsight bundle export`"
            )
    rate = first.default_rate if rate is None else rate
    if rate >= len(first.rates):
        raise UsageError(f"rate: this bundle has 0 to {len(first.rates) - 1}, got {rate}")
    ratios = time_ratios(bundles, dataset, rate, console)
    detector = Detector.from_bundle(bundles[0].folder)
    chosen = replace(detector.settings, rate=rate)
    rows = []
    for bundle, ratio in zip(bundles, ratios, strict=True):
        console.print(f"{bundle.folder}: {bundle.manifest.precision}", highlight=False)
        own = detector.with_graph(bundle.folder / EDGE)
        report = judge(own, dataset, chosen, {}, limit, {}, console)
        rows.append(
            Row(
                bundle.manifest.precision,
                rate,
                report["images"],
                report["ap"],
                report["ap50"],
                report["bpr"],
                report["payload_bytes_per_frame"],
                ratio,
            )
        )
    return rows


def time_ratios(
    bundles: Sequence[Bundle], dataset: Dataset, rate: int, console: Console
) -> list[float | None]:
    """CPU time of each graph over that of the first; None of those that are for TensorRT."""
    manifest = bundles[0].manifest
    steps = np.array(manifest.rates[rate].steps, np.float32)
    graphs = [
        Graph(bundle.folder / EDGE, steps.shape[1])
        if bundle.manifest.precision in ("fp32", "int8-x86")
        else None
        for bundle in bundles
    ]
    spent_s = [0.0] * len(graphs)
    images = dataset.images[:: max(1, len(dataset.images) // TIMED)][:TIMED]
    with counting(console) as bar:
        for one in bar.track(images, description="engines timed"):
            frame = read_labelled(one)
            box = Letterbox.fit((frame.shape[0], frame.shape[1]), manifest.long_side_px)
            inputs = {"image": letterbox(frame, box)[None], "steps": steps}
            best_s = [float("inf")] * len(graphs)
            for _ in range(ROUNDS):
                for i, graph in enumerate(graphs):
                    if graph is not None:
                        start_s = time.process_time()
                        graph.run(["heat", "latents"], inputs)
                        best_s[i] = min(best_s[i], time.process_time() - start_s)
            spent_s = [total + best for total, best in zip(spent_s, best_s, strict=True)]
    return [
        None if graph is None else spent / spent_s[0]
        for graph, spent in zip(graphs, spent_s, strict=True)
    ]


def to_table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| precision | AP / AP50 | AP lost | bpr | payload bytes a frame | engine time over fp32 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = "-" if row.time_ratio is None else f"{row.time_ratio:.2f}"
        lines.append(
            f"| {row.precision} | {100 * row.ap:.2f} / {100 * row.ap50:.2f} | "
            f"{100 * (rows[0].ap - row.ap):.2f} | {row.bpr:.3f} | {row.payload_bytes:,.0f} | "
            f"{ratio} |"
        )
    return "\n".join(lines)


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows for programs."""
    return [asdict(row) for row in rows]


def write_cards(bundles: Sequence[Bundle], rows: Sequence[Row], annotations: str) -> None:
    """Put the table into each bundle's card, in the place of one that is there.

    Args:
        bundles: As they were judged.
        rows: What came of it.
        annotations: Name of what they were judged on.
    """
    section = (
        f"{HEADING}\n\n{rows[0].images} pictures of {annotations}, rate {rows[0].rate}; times of "
        f"one thread of onnxruntime.\n\n{to_table(rows)}\n"
    )
    for bundle in bundles:
        file = bundle.folder / CARD
        text = re.sub(
            rf"\n*^{HEADING}$.*?(?=^## |\Z)",
            "\n\n",
            file.read_text(encoding="utf-8"),
            flags=re.MULTILINE | re.DOTALL,
        )
        file.write_text(f"{text.rstrip()}\n\n{section}", encoding="utf-8")
        rewrite(bundle.folder, bundle.manifest)
