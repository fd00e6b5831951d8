"""One self-contained HTML file about a trained detector.

    metrics of its runs ─┐
    evaluation, curves ──┼─> sections ─> page: styles inside, SVG and JPEG inside, no script
    AP and bytes a rate ─┘

Every text that comes from data, names of files and classes among it, is escaped; the page's policy
forbids a browser to fetch or run anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.coco_ap import precision_curves
from sparsight_cloud.evaluation.faults import Faults, faults, worst
from sparsight_cloud.evaluation.run import Evaluation
from sparsight_cloud.page.charts import Axis, Line, chart
from sparsight_cloud.page.pictures import faults_drawn, unseen_drawn

SCORE = 0.25
"""Detections from this score on are drawn."""

WORST = 6
UNSEEN = 24
CLASSES = 8  # curves in one chart; the classes with most boxes

_STYLE = """
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#667;--line:#d8dce2;--paper:#fff;--card:#f6f7f9}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ec;--soft:#99a;--line:#343a44;--paper:#14171c;
--card:#1c2027}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:980px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.15rem;margin-top:2.2rem}p{color:var(--soft)}
.cards{display:flex;flex-wrap:wrap;gap:.7rem}.cards div{background:var(--card);border-radius:8px;
padding:.6rem 1rem;min-width:7rem}.cards b{display:block;font-size:1.35rem}
.row{display:flex;flex-wrap:wrap;gap:1rem}.row svg{flex:1 1 400px;max-width:480px}
svg{font:11px system-ui,sans-serif}svg text{fill:var(--ink)}svg polyline{stroke-width:1.8}
svg .grid{stroke:var(--line)}svg .axis{stroke:var(--soft);fill:none}svg .x{text-anchor:middle}
svg .y{text-anchor:end}table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:right;
border-bottom:1px solid var(--line)}td:first-child,th:first-child{text-align:left}
figure{margin:1rem 0}figure img{width:100%;border-radius:6px}figcaption{color:var(--soft)}
.small{display:flex;flex-wrap:wrap;gap:4px}.small img{width:96px;height:96px;border-radius:4px}
.found{color:#2c9a4b}.missed{color:#d6283a}.false{color:#d58a00}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class Story:
    """What a page tells.

    Attributes:
        title: Of the page.
        about: A line below it.
        losses: Rows of the metrics file of each run, by the run's name.
        dataset: What was judged on, with the classes that the detector knows.
        evaluation: At the rate that the bundle ships with.
        rates: The reports of each rate (`evaluation_report`), and of `none`.
    """

    title: str
    about: str
    losses: Mapping[str, Sequence[Mapping[str, float]]]
    dataset: Dataset
    evaluation: Evaluation
    rates: Mapping[str, Mapping[str, Any]]


def page(story: Story) -> str:
    """The file's text.

    Raises:
        PictureError: A picture that was judged can't be read any more.
    """
    found = [faults(frame, SCORE) for frame in story.evaluation.frames]
    sections = [
        _figures(story.evaluation),
        _section("Losses", _losses(story.losses)),
        _section("Precision over recall, IoU .50", _curves(story)),
        _section("Bytes against AP", _rates(story.rates)),
        _section("Classes", _classes(story.evaluation)),
        _section("Pictures with most errors", _worst(story.evaluation)),
        _section("Objects that the seeker missed", _unseen(found)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(story.title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(story.title)}</h1><p>{escape(story.about)}</p>"
        f"{''.join(sections)}</body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def _figures(evaluation: Evaluation) -> str:
    ap, kept = evaluation.ap, evaluation.coverage
    sent = evaluation.payload_bytes
    cards = [
        ("AP", _percent(ap.ap)),
        ("AP50", _percent(ap.ap50)),
        ("objects in patches", _percent(kept.bpr)),
        ("area kept", _percent(kept.kept_area)),
        ("GFLOPs a frame", f"{evaluation.gflops_per_frame:.1f}"),
        ("kB a frame", "-" if sent is None else f"{sent / 1e3:.1f}"),
    ]
    told = "".join(f"<div><b>{value}</b>{name}</div>" for name, value in cards)
    return f'<div class="cards">{told}</div>'


def _losses(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    charts = []
    for name, rows in runs.items():
        names = [k for k in (rows[-1] if rows else ()) if k.startswith("loss_")]
        lines = [
            Line(k.removeprefix("loss_"), tuple((r["step"], r[k]) for r in rows if k in r))
            for k in names
        ]
        if not lines:
            continue
        points = [point for line in lines for point in line.points]
        x = Axis.over(f"steps, {name}", [p[0] for p in points])
        charts.append(chart(lines, x, Axis.over("loss", [p[1] for p in points], low=0.0)))
    return f'<div class="row">{"".join(charts)}</div>' if charts else ""


def _curves(story: Story) -> str:
    frames = story.evaluation.frames
    known = precision_curves(story.dataset, [frame.detections for frame in frames])
    sizes = {one.name: one.boxes for one in story.evaluation.ap.per_class}
    names = sorted(known, key=lambda name: -sizes.get(name, 0))[:CLASSES]
    if not names:
        return ""
    lines = [Line(n, tuple((i / 100, float(v)) for i, v in enumerate(known[n]))) for n in names]
    drawn = chart(lines, Axis("recall", 0.0, 1.0), Axis("precision", 0.0, 1.0))
    return f'<div class="row">{drawn}</div>'


def _rates(rates: Mapping[str, Mapping[str, Any]]) -> str:
    points = sorted(
        (r["payload_bytes_per_frame"] / 1e3, 100 * r["ap"])
        for name, r in rates.items()
        if name != "none" and r["payload_bytes_per_frame"] is not None and r["ap"] is not None
    )
    if not points:
        return ""
    lines = [Line("through the codec", tuple(points), dots=True)]
    whole = rates.get("none", {}).get("ap")
    if whole is not None:
        lines.append(
            Line("without it", ((points[0][0], 100 * whole), (points[-1][0], 100 * whole)))
        )
    heights = [y for line in lines for _, y in line.points]
    x = Axis.over("kB a frame", [p[0] for p in points], low=0.0)
    return f'<div class="row">{chart(lines, x, Axis.over("AP, %", heights, low=0.0))}</div>'


def _classes(evaluation: Evaluation) -> str:
    rows = "".join(
        f"<tr><td>{escape(one.name)}</td><td>{one.boxes}</td><td>{_percent(one.ap)}</td>"
        f"<td>{_percent(one.ap50)}</td></tr>"
        for one in evaluation.ap.per_class
    )
    return f"<table><tr><th>class</th><th>objects</th><th>AP</th><th>AP50</th></tr>{rows}</table>"


def _worst(evaluation: Evaluation) -> str:
    shown = [
        f'<figure><img alt="" src="{faults_drawn(one)}"><figcaption>'
        f"{escape(one.frame.image.file_name)}: "
        f'<span class="missed">{one.missed.sum()} missed</span>, '
        f'<span class="false">{one.false.sum()} false</span>, '
        f'<span class="found">{(one.shown & ~one.false).sum()} found</span></figcaption></figure>'
        for one in worst(evaluation.frames, SCORE, WORST)
    ]
    return f"<p>At a score of {SCORE:g} and more.</p>{''.join(shown)}" if shown else ""


def _unseen(found: Sequence[Faults]) -> str:
    count = sum(int(one.unseen.sum()) for one in found)
    if not count:
        return ""
    images: list[str] = []
    for one in found:
        images += unseen_drawn(one, UNSEEN - len(images))
    told = "".join(f'<img alt="" src="{image}">' for image in images)
    judged = sum(one.frame.coverage.boxes for one in found)
    return (
        f"<p>{count} of {judged} objects lie in no patch; the first {len(images)}:</p>"
        f'<div class="small">{told}</div>'
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
