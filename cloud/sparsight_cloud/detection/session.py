"""A whole run before a person's eyes: progress, errors as they come, files, tables, exit code."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sparsight.errors import DataError, PictureError
from sparsight_cloud.detection.judging import Judgement, Labels, judge
from sparsight_cloud.detection.outputs import coco_results, prepare_folder, write_results
from sparsight_cloud.detection.run import Detector, Done, Failed, detect_sources
from sparsight_cloud.detection.sources import Source
from sparsight_cloud.detection.summary import (
    as_json,
    class_line,
    judgement_lines,
    judgement_table,
    picture_table,
)
from sparsight_cloud.detection.wishes import Wishes
from sparsight_cloud.evaluation.classes import ClassMatch, match_classes
from sparsight_cloud.progress import counting

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell gives it."""


@dataclass(frozen=True, slots=True)
class Screens:
    """Where things are said.

    Attributes:
        people: Progress and errors; stderr.
        results: Tables; stdout.
        machine: Print JSON to `results` and nothing else.
    """

    people: Console
    results: Console
    machine: bool = False


def run_session(
    detector: Detector,
    sources: Sequence[Source],
    wishes: Wishes,
    out: Path,
    screens: Screens,
    labels: Labels | None = None,
) -> int:
    """Look at every picture, write what was found and say so.

    Args:
        detector: What looks.
        sources: At least one picture.
        wishes: What is wanted.
        out: The output folder; made if need be.
        screens: Where things are said.
        labels: What to judge by; None judges nothing.

    Returns:
        The exit code: 0, that of `PictureError` if a picture failed, 130 after Ctrl-C.

    Raises:
        UsageError: The output can't be written.
        DataError: The annotations have no picture or no class in common with what is looked at, or
            (after everything was written) are about pictures of other sizes.
    """
    prepare_folder(out)
    match = None if labels is None else _match_classes(labels, detector.classes, wishes)
    done, failed, interrupted = _watch(detector, sources, wishes, out, screens.people)
    ids = _image_ids(sources, labels)
    results: list[dict[str, Any]] = []
    for one in done:
        results += coco_results(
            ids[one.source.path], one.source.file_name, one.shown, detector.classes
        )
    file = write_results(results, out)
    judgement, problem = None, None
    if labels is not None and match is not None and not interrupted:
        try:
            judgement = judge(done, labels, match, detector.classes)
        except DataError as error:  # said last, below what was found
            problem = error
    if screens.machine:
        summary = as_json(done, failed, detector.classes, judgement)
        summary |= {"results": str(file), "conf": wishes.conf, "interrupted": interrupted}
        screens.results.out(json.dumps(summary, indent=2), highlight=False)
    else:
        _show(screens.results, done, failed, detector.classes, judgement, file)
    if problem is not None and not failed:
        raise problem
    if problem is not None:
        screens.people.print(f"[red]not judged:[/] {escape(str(problem))}", soft_wrap=True)
    if interrupted:
        screens.people.print(
            f"interrupted: {len(done)} of {len(sources)} pictures were done and are in {out}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return INTERRUPTED
    return PictureError.exit_code if failed else 0


def _watch(
    detector: Detector, sources: Sequence[Source], wishes: Wishes, out: Path, people: Console
) -> tuple[list[Done], list[Failed], bool]:
    """Outcomes of the pictures, and whether Ctrl-C cut them short."""
    done: list[Done] = []
    failed: list[Failed] = []
    progress = counting(people, disable=not people.is_terminal)
    try:
        with progress, closing(detect_sources(detector, sources, wishes, out)) as outcomes:
            task = progress.add_task("detecting", total=len(sources))
            for outcome in outcomes:
                if isinstance(outcome, Failed):
                    failed.append(outcome)
                    people.print(f"[red]failed:[/] {escape(outcome.reason)}", soft_wrap=True)
                else:
                    done.append(outcome)
                progress.advance(task)
    except KeyboardInterrupt:
        return done, failed, True
    return done, failed, False


def _show(
    console: Console,
    done: list[Done],
    failed: list[Failed],
    classes: tuple[str, ...],
    judgement: Judgement | None,
    file: Path,
) -> None:
    console.print(picture_table(done, failed, classes))
    console.print(class_line(done, classes), markup=False, highlight=False)
    if judgement is not None:
        console.print()
        for line in judgement_lines(judgement):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print(judgement_table(judgement))
    console.print(
        f"annotated pictures and {file.name} are in {file.parent}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _match_classes(labels: Labels, classes: tuple[str, ...], wishes: Wishes) -> ClassMatch:
    """The detector's classes on the annotations'; what is not looked for is not judged either."""
    wanted = set(wishes.labels.tolist())
    dropped = {name: "" for label, name in enumerate(classes) if label not in wanted}
    return match_classes(classes, labels.dataset.classes, {**labels.mapping, **dropped})


def _image_ids(sources: Sequence[Source], labels: Labels | None) -> dict[Path, int]:
    """Ids of the annotation file where it speaks of a picture, the next free ones elsewhere."""
    images = () if labels is None else labels.dataset.images
    annotated = {image.path: image.image_id for image in images}
    free = max(annotated.values(), default=0) + 1
    ids = {}
    for source in sources:
        known = annotated.get(source.path.absolute())
        ids[source.path] = free if known is None else known
        free += known is None
    return ids
