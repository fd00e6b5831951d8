"""The demo from its first step to its exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from tools.demo.annotated import write_annotated
from tools.demo.board import Board
from tools.demo.figures import Figures, as_json, figures_of
from tools.demo.judging import Judge, detect_in_process
from tools.demo.outcomes import Outcome
from tools.demo.plan import Plan
from tools.demo.programs import Programs
from tools.demo.rivals import Rivals, Sizes
from tools.demo.stream import stream
from tools.demo.table import PARTS_LINE, table

SUMMARY, BOTH = "summary.json", "both"

FAILED = 1
"""Exit code when a frame was lost or doubled, or a program ended badly."""


def run(plan: Plan, out: Path, programs: Programs, people: Console, results: Console) -> int:
    """Run the demo.

    Args:
        plan: What is run.
        out: Folder of what is written; it exists.
        programs: Starts the programs; all have ended when this returns or raises.
        people: For progress and what went wrong; stderr.
        results: For the table; stdout.

    Returns:
        The exit code.

    Raises:
        SparsightError: A program can't be run, or the output can't be written.
        KeyboardInterrupt: It was told to end.
    """
    with Board(people) as board:
        pictures = [picture for camera in plan.cameras for picture in camera.pictures]
        with Rivals(pictures) as rivals, programs:
            try:
                outcomes, troubles = stream(plan, programs, board)
            except KeyboardInterrupt:
                _say(people, "ending what was started ...")
                raise
        columns = _judge(plan, outcomes, rivals.sizes(), board)
        _write(plan, columns, out / SUMMARY)
        with board.step("drawing what was found"):
            for outcome in outcomes:
                write_annotated(outcome, plan.classes, out)
    results.print(table(columns))
    _say(results, PARTS_LINE)
    _say(results, f"annotated frames and {SUMMARY} are in {out}")
    if (wrong := verdict(columns[BOTH], troubles)) is None:
        return 0
    _say(people, f"demo: {wrong}")
    return FAILED


def verdict(total: Figures, troubles: Sequence[str]) -> str | None:
    """What is wrong with a run, in one line; None if nothing is.

    Args:
        total: The figures of all frames.
        troubles: A line for each program that did not end well.
    """
    if not (total.lost or total.duplicated or troubles):
        return None
    counts = (
        f"of {total.planned} frames {total.lost} were lost and {total.duplicated} committed "
        "more than once"
    )
    return "; ".join([counts, *troubles])


def _judge(
    plan: Plan, outcomes: Sequence[Outcome], sizes: dict[Path, Sizes], board: Board
) -> dict[str, Figures]:
    """The figures of each camera and of both."""
    step = "the same frames in one process"
    board.begin(step, plan.frames)
    in_process = detect_in_process(
        plan.bundle, plan.rate, [one.picture for one in outcomes], lambda n: board.at({step: n})
    )
    judge = Judge(plan.labels, plan.match)
    groups = {
        camera.name: [one for one in outcomes if one.camera == camera.name]
        for camera in plan.cameras
    }
    return {
        name: figures_of(group, sizes, in_process, judge)
        for name, group in {**groups, BOTH: outcomes}.items()
    }


def _write(plan: Plan, columns: dict[str, Figures], file: Path) -> None:
    summary: dict[str, Any] = {
        **as_json(columns[BOTH]),
        "cameras": {camera.name: as_json(columns[camera.name]) for camera in plan.cameras},
        "bundle": {"name": plan.manifest.name, "id": plan.manifest.id},
        "rate": plan.rate,
        "fps": plan.fps,
        "computed": plan.computes,
    }
    part = file.with_name(f".{file.name}.part")
    part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    part.replace(file)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
