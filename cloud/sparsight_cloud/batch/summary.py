"""A run in figures, as JSON for machines and as a table for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sparsight_cloud.batch.orders import Order
from sparsight_cloud.batch.outcome import Totals
from sparsight_cloud.batch.work import Pace


def as_json(
    out: str,
    order: Order,
    totals: Totals,
    packing: dict[str, Any],
    earlier: int,
    pace: Pace | None,
) -> dict[str, Any]:
    """Everything about a run but its rows.

    Args:
        out: Where they are.
        order: What decided them.
        totals: Sums over them.
        packing: How full the batches were.
        earlier: Items that earlier starts had done.
        pace: How fast this start was; None if nothing was left to do.

    Returns:
        Values for JSON; means are null where there is nothing to take them of.
    """
    n = totals.pictures
    return {
        "out": out,
        "bundle": order.bundle,
        "bundle_id": order.bundle_id,
        "pictures": n,
        "failed": totals.failed,
        "errors": totals.errors,
        "objects": totals.objects.total(),
        "objects_by_class": dict(totals.objects.most_common()),
        "patches_per_picture": round(totals.patches / n, 1) if n else None,
        "kept_area": round(totals.kept_area / n, 4) if n else None,
        "ms_per_picture": {k: round(v / n, 1) for k, v in totals.ms.items()} if n else None,
        "batches": packing,
        "this_start": None
        if pace is None
        else {
            "pictures": pace.pictures,
            "pictures_per_s": round(pace.per_s, 2),
            "seconds": round(pace.seconds, 1),
            "start_s": round(pace.start_s, 1),
            "workers": pace.workers,
        },
        "earlier": earlier,
    }


def show(console: Console, summary: dict[str, Any]) -> None:
    """Print a run.

    Args:
        console: Where.
        summary: As from `as_json`.
    """
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(summary):
        table.add_row(name, escape(value))
    console.print(table)


def _lines(s: dict[str, Any]) -> list[tuple[str, str]]:
    classes = ", ".join(f"{n} {name}" for name, n in s["objects_by_class"].items())
    earlier = f", {s['earlier']} done earlier" if s["earlier"] else ""
    lines = [("pictures", f"{s['pictures']}{earlier}")]
    if s["failed"]:
        more = s["failed"] - len(s["errors"])
        said = [*s["errors"], *([f"and {more} more: column `error` of the rows"] if more else [])]
        lines.append(("failed", "\n".join([str(s["failed"]), *said])))
    lines.append(("objects", f"{s['objects']}: {classes}" if classes else "none"))
    if s["pictures"]:
        ms, batches = s["ms_per_picture"], s["batches"]
        lines += [
            ("patches", f"{s['patches_per_picture']} a picture, {s['kept_area']:.0%} kept"),
            ("time", ", ".join(f"{name} {ms[name]:.0f} ms" for name in ms) + " a picture"),
        ]
        if batches["batches"]:
            lines.append(
                (
                    "batches",
                    f"{batches['batches']} of {batches['cells']} cells, {batches['filled']:.0%} "
                    f"of their budget, {batches['padding']:.1%} padding",
                )
            )
    if s["this_start"]:
        now = s["this_start"]
        lines.append(
            (
                "speed",
                f"{now['pictures_per_s']} pictures/s: {now['pictures']} in {now['seconds']} s by "
                f"{now['workers']} processes, after {now['start_s']} s of starting",
            )
        )
    return lines
