"""A run in figures, as JSON for machines and as tables for people."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from sparsight_cloud.detection.judging import Judgement
from sparsight_cloud.detection.run import Done, Failed

ROWS_SHOWN = 40
"""Pictures that the table lists; more would push the totals out of sight of the first."""


def as_json(
    done: Sequence[Done],
    failed: Sequence[Failed],
    classes: tuple[str, ...],
    judgement: Judgement | None,
) -> dict[str, Any]:
    """Everything about a run but its objects.

    Args:
        done: Pictures that were looked at.
        failed: Pictures that could not be.
        classes: Names of the detector's classes.
        judgement: Of the annotated ones; None where nothing was judged.

    Returns:
        Values for JSON; means are null where no picture was looked at.
    """
    return {
        "totals": _totals(done, failed, classes),
        "ap": None if judgement is None else _judgement(judgement),
        "pictures": [
            {
                "file_name": one.source.file_name,
                "annotated": one.source.picture.as_posix(),
                "width": one.frame_hw[1],
                "height": one.frame_hw[0],
                "objects": len(one.shown),
                "objects_by_class": _by_class([one], classes),
                "patches": one.patches,
                "occupancy": round(one.occupancy, 4),
                "ms": round(one.ms, 1),
            }
            for one in done
        ],
        "failed": [{"file_name": one.source.file_name, "error": one.reason} for one in failed],
    }


def picture_table(
    done: Sequence[Done], failed: Sequence[Failed], classes: tuple[str, ...]
) -> Table:
    """A row a picture, and the totals.

    Args:
        done: Pictures that were looked at.
        failed: Pictures that could not be.
        classes: Names of the detector's classes.
    """
    table = Table(show_footer=True)
    totals = _totals(done, failed, classes)
    count = f"{len(done)} {'picture' if len(done) == 1 else 'pictures'}"
    table.add_column("file", f"{count}, {len(failed)} failed" if failed else count, overflow="fold")
    for heading, footer in (
        ("objects", str(totals["objects"])),
        ("patches", _mean(totals["patches_per_picture"], "{:.1f}")),
        ("occupancy", _mean(totals["occupancy"], "{:.2f}")),
        ("ms", _mean(totals["ms_per_picture"], "{:.0f}")),
    ):
        mean = "" if heading == "objects" else "mean "
        table.add_column(heading, mean + footer, justify="right", no_wrap=True)
    for one in done[:ROWS_SHOWN]:
        table.add_row(
            escape(one.source.file_name),
            str(len(one.shown)),
            str(one.patches),
            f"{one.occupancy:.2f}",
            f"{one.ms:.0f}",
        )
    if len(done) > ROWS_SHOWN:
        table.add_row(f"and {len(done) - ROWS_SHOWN} more")
    return table


def class_line(done: Sequence[Done], classes: tuple[str, ...]) -> str:
    """How many objects of each class, the commonest first."""
    counts = _by_class(done, classes)
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "no objects"


def judgement_lines(judgement: Judgement) -> list[str]:
    """On what the AP is, and what it leaves out."""
    count, annotated = judgement.pictures, judgement.pictures_annotated
    of = f" of {annotated}" if annotated > count else ""
    lines = [f"judged on {count}{of} annotated pictures, with objects of every score"]
    if judgement.unjudged:
        lines.append(f"not judged, for want of a class: {', '.join(judgement.unjudged)}")
    return lines


def judgement_table(judgement: Judgement) -> Table:
    """AP of each class that was judged, and over them.

    Args:
        judgement: What was judged.
    """
    ap = judgement.ap
    table = Table(show_footer=True)
    several = len(ap.per_class) > 1
    table.add_column("class", "mean of the classes" if several else "")
    table.add_column("boxes", str(ap.boxes_judged), justify="right")
    table.add_column("AP", _percent(ap.ap), justify="right")
    table.add_column("AP50", _percent(ap.ap50), justify="right")
    for one in ap.per_class:
        meant = judgement.meanings[one.name]
        said = one.name if meant == (one.name,) else f"{one.name} (detected as {', '.join(meant)})"
        table.add_row(escape(said), str(one.boxes), _percent(one.ap), _percent(one.ap50))
    return table


def _totals(
    done: Sequence[Done], failed: Sequence[Failed], classes: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "pictures": len(done),
        "failed": len(failed),
        "objects": sum(len(one.shown) for one in done),
        "objects_by_class": _by_class(done, classes),
        "patches_per_picture": fmean(one.patches for one in done) if done else None,
        "occupancy": round(fmean(one.occupancy for one in done), 4) if done else None,
        "ms_per_picture": round(fmean(one.ms for one in done), 1) if done else None,
    }


def _by_class(done: Sequence[Done], classes: tuple[str, ...]) -> dict[str, int]:
    counts = np.zeros(len(classes), np.int64)
    for one in done:
        counts += np.bincount(one.shown.labels, minlength=len(classes))
    return {
        classes[label]: int(counts[label])
        for label in np.argsort(-counts, kind="stable")
        if counts[label]
    }


def _judgement(judgement: Judgement) -> dict[str, Any]:
    ap = judgement.ap
    return {
        "ap": _short(ap.ap),
        "ap50": _short(ap.ap50),
        "pictures": judgement.pictures,
        "pictures_annotated": judgement.pictures_annotated,
        "boxes": ap.boxes_judged,
        "per_class": {
            one.name: {
                "boxes": one.boxes,
                "ap": _short(one.ap),
                "ap50": _short(one.ap50),
                "detected_as": list(judgement.meanings[one.name]),
            }
            for one in ap.per_class
        },
        "not_judged": list(judgement.unjudged),
    }


def _short(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 4)


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def _mean(figure: float | None, form: str) -> str:
    return "-" if figure is None else form.format(figure)
