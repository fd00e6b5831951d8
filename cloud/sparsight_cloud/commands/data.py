"""`sparsight data`: convert annotated sets, and look at one before training on it."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sparsight.errors import DataError, UsageError
from sparsight_cloud.data.choices import Format, Placing, Split, Target

if TYPE_CHECKING:
    from sparsight_cloud.data.reading import Reading
    from sparsight_cloud.data.stats import Stats
    from sparsight_cloud.data.summary import Summary

T = TypeVar("T")

_BAR_CHARS = 30
_WORTH_A_BAR = 200  # items; fewer are read before a person has seen the bar

data_app = typer.Typer(
    name="data",
    help="Convert, check and measure annotated data sets.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


Annotations = Annotated[
    Path,
    typer.Argument(
        metavar="ANN",
        help="The annotations, a JSON file unless --from says more.",
        show_default=False,
    ),
]
Images = Annotated[
    Path, typer.Option("--images", help="Folder of the pictures.", show_default=False)
]
AllowEmpty = Annotated[
    bool,
    typer.Option(
        "--allow-empty",
        help="Take pictures whose labels are missing or empty as pictures without objects.",
    ),
]
DropBadBoxes = Annotated[
    bool,
    typer.Option(
        "--drop-bad-boxes",
        help="Leave boxes out that lie outside their picture or have no size (VisDrone has one).",
    ),
]
SplitOption = Annotated[
    Split, typer.Option("--split", help="For uavdt: the benchmark's part to read.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


@data_app.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="The annotations: a JSON file (coco, tinyperson), the folder of label files "
            "(visdrone, uavdt), data.yaml or the folder of the labels (yolo).",
            show_default=False,
        ),
    ],
    from_: Annotated[Format, typer.Option("--from", help="Format of SRC.", show_default=False)],
    to: Annotated[Target, typer.Option("--to", help="Format to write.", show_default=False)],
    images: Images,
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="The JSON file (coco) or new folder (yolo).", show_default=False
        ),
    ],
    allow_empty: AllowEmpty = False,
    drop_bad_boxes: DropBadBoxes = False,
    split: SplitOption = Split.ALL,
    pictures: Annotated[
        Placing, typer.Option("--pictures", help="For yolo: how they come into OUT/images.")
    ] = Placing.LINK,
    as_json: AsJson = False,
) -> None:
    """Convert annotations to COCO or YOLO; ignore regions are kept.

    Nothing is written unless all of the set is fine: what is wrong is listed,
    with file and line.

    YOLO has no ignore regions, so they lie beside the labels: `ignore/NAME.txt`
    has lines as the labels without the class. `--from yolo` reads them back.

    Examples:
        sparsight data convert VisDrone2019-DET-val --from visdrone --to coco
            --images VisDrone2019-DET-val/images --out val.json

        sparsight data convert GT --from uavdt --split test --to coco
            --images UAV-benchmark-M --out uavdt-test.json

        sparsight data convert val.json --from coco --to yolo
            --images pictures --out val-yolo
    """
    from sparsight_cloud.data.coco import write_coco
    from sparsight_cloud.data.formats import scan_dataset
    from sparsight_cloud.data.summary import summarise
    from sparsight_cloud.data.yolo import write_yolo

    _require_free(out, to)
    reading = _reading(allow_empty, drop_bad_boxes, split, as_json)
    dataset = scan_dataset(source, images, from_, reading)
    if reading.problem_count:
        _end_with_problems(source, reading, as_json)
    if to is Target.COCO:
        write_coco(dataset, out)
    else:
        write_yolo(dataset, out, pictures)
    summary = summarise(dataset)
    if as_json:
        _print_json({"out": str(out), "notes": reading.notes, "summary": asdict(summary)})
        return
    _print_notes(reading)
    typer.echo(
        f"wrote {out}: {summary.images} pictures, {summary.boxes} boxes of "
        f"{len(summary.classes)} classes, {summary.ignore_regions} ignore regions"
    )


@data_app.command()
def check(
    annotations: Annotations,
    images: Images,
    from_: Annotated[Format, typer.Option("--from", help="Format of ANN.")] = Format.COCO,
    allow_empty: AllowEmpty = False,
    drop_bad_boxes: DropBadBoxes = False,
    split: SplitOption = Split.ALL,
    as_json: AsJson = False,
) -> None:
    """Show what a data set holds and what is wrong with it.

    Every picture's header is opened and its size compared, none is decoded.

    The size of a box is the square root of its area, in pixels of the picture.

    Examples:
        sparsight data check train.json --images pictures

        sparsight data check VisDrone2019-DET-val --from visdrone
            --images VisDrone2019-DET-val/images --json
    """
    from sparsight_cloud.data.formats import scan_dataset
    from sparsight_cloud.data.summary import summarise

    reading = _reading(allow_empty, drop_bad_boxes, split, as_json)
    summary = summarise(scan_dataset(annotations, images, from_, reading))
    if as_json:
        _print_json(
            {
                "summary": asdict(summary),
                "notes": reading.notes,
                "problem_count": reading.problem_count,
                "problems": [asdict(problem) for problem in reading.problems],
            }
        )
        raise typer.Exit(DataError.exit_code if reading.problem_count else 0)
    _print_summary(annotations, summary)
    _print_notes(reading)
    if reading.problem_count:
        _end_with_problems(annotations, reading, as_json=False)
    typer.echo("no problems")


@data_app.command()
def stats(
    annotations: Annotations,
    images: Images,
    from_: Annotated[Format, typer.Option("--from", help="Format of ANN.")] = Format.COCO,
    long_side: Annotated[
        int, typer.Option(min=64, help="Long side of a picture in the network's input, in pixels.")
    ] = 1536,
    threshold: Annotated[
        float, typer.Option(help="Heat from which on the slicer cuts a patch, in (0, 1].")
    ] = 0.55,
    allow_empty: AllowEmpty = False,
    drop_bad_boxes: DropBadBoxes = False,
    split: SplitOption = Split.ALL,
    as_json: AsJson = False,
) -> None:
    """Show how small and how sparse a data set is, and what share of a frame would be kept.

    Sizes are square roots of areas, in pixels of the network's input. What the slicer keeps is cut
    from the labels; a trained seeker keeps more, since it also keeps what it mistakes for objects.

    Examples:
        sparsight data stats train.json --images pictures

        sparsight data stats data.yaml --from yolo --images images/train --long-side 1280
    """
    from sparsight.slicer import SlicerSettings
    from sparsight_cloud.data.formats import scan_dataset
    from sparsight_cloud.data.stats import dataset_stats

    slicer = SlicerSettings(threshold=threshold)
    reading = _reading(allow_empty, drop_bad_boxes, split, as_json)
    dataset = scan_dataset(annotations, images, from_, reading)
    if reading.problem_count:
        _end_with_problems(annotations, reading, as_json)
    if not dataset.images:
        raise DataError(f"{annotations}: expected at least one picture, got none")
    track = reading.track
    told = dataset_stats(dataset, long_side, slicer, lambda items: track(items, "boxes"))
    if as_json:
        _print_json({"stats": asdict(told), "notes": reading.notes})
        return
    _print_stats(annotations, told)
    _print_notes(reading)


def _reading(allow_empty: bool, drop_bad_boxes: bool, split: Split, quiet: bool) -> "Reading":
    from sparsight_cloud.data.reading import Reading, silent

    return Reading(
        allow_empty=allow_empty,
        drop_bad_boxes=drop_bad_boxes,
        check_pictures=True,
        split=split,
        track=silent if quiet else _bar,
    )


def _bar(items: Sequence[T], what: str, /) -> Iterable[T]:
    if len(items) < _WORTH_A_BAR:
        return items
    console = Console(stderr=True)
    return track(items, f"reading {what}", console=console, transient=True)


def _require_free(out: Path, to: Target) -> None:
    if to is Target.COCO and out.suffix.lower() != ".json":
        raise UsageError(f"{out}: expected the name of a .json file to write; change --out")
    if out.is_dir() and to is Target.YOLO and not any(out.iterdir()):
        return
    if out.exists():
        raise UsageError(f"{out}: there already; nothing is overwritten, remove it or change --out")


def _end_with_problems(annotations: Path, reading: "Reading", as_json: bool) -> None:
    from sparsight_cloud.data.reading import DatasetProblems

    if as_json:
        problems = [asdict(problem) for problem in reading.problems]
        _print_json({"problem_count": reading.problem_count, "problems": problems})
    else:
        error = DatasetProblems(annotations, reading.problems, reading.problem_count)
        # No wrapping and no markup: these lines are for searching and for editors to jump from.
        typer.echo(str(error), err=True)
    raise typer.Exit(DataError.exit_code)


def _print_notes(reading: "Reading") -> None:
    for note in reading.notes:
        typer.echo(f"note: {note}", err=True)


def _print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _print_summary(annotations: Path, summary: "Summary") -> None:
    console = Console(markup=False, highlight=False)  # names of files and classes are no markup
    whole = Table("data set", str(annotations))
    frames = [f"{name} ({n})" for name, n in summary.frame_sizes[:3]]
    more = len(summary.frame_sizes) - len(frames)
    whole.add_row("pictures", f"{summary.images}, {summary.images_without_boxes} without boxes")
    whole.add_row("sizes", ", ".join(frames) + (f" and {more} more" if more > 0 else ""))
    median, most = summary.boxes_per_image_median, summary.boxes_per_image_max
    whole.add_row("boxes", f"{summary.boxes}, a picture {median:g} (median) to {most}")
    whole.add_row("doubled boxes", str(summary.doubled_boxes))
    regions = f"{summary.ignore_regions} in {summary.images_with_regions} pictures"
    whole.add_row("ignore regions", regions)
    console.print(whole)
    ends = [f"to {size.from_px:g} px" for size in summary.sizes[1:]] + ["px and more"]
    sizes = _counts("size of a box", "boxes", "share")
    for size, end in zip(summary.sizes, ends, strict=True):
        sizes.add_row(f"{size.name}, {size.from_px:g} {end}", str(size.boxes), f"{size.share:.1%}")
    console.print(sizes)
    classes = _counts("class", "id", "boxes", "share", "pictures")
    for c in summary.classes:
        share = c.boxes / max(summary.boxes, 1)
        classes.add_row(c.name, str(c.category_id), str(c.boxes), f"{share:.1%}", str(c.images))
    console.print(classes)


def _print_stats(annotations: Path, stats: "Stats") -> None:
    console = Console(markup=False, highlight=False)
    whole = _counts(str(annotations), "mean", "10 %", "median", "90 %", "most")
    rows = (
        ("objects a picture", stats.objects, "{:.0f}"),
        ("size of an object, px", stats.side_px, "{:.0f}"),
        ("32-px cells under an object", stats.covered, "{:.1%}"),
        ("kept by the slicer, its margin included", stats.kept, "{:.1%}"),
        ("patches a picture", stats.patches, "{:.0f}"),
    )
    for name, s, form in rows:
        cells = (s.mean, s.p10, s.median, s.p90, s.most)
        whole.add_row(name, *(form.format(v) for v in cells))
    console.print(whole)
    sizes = _counts("size of an object, px", "objects", "share", "")
    sizes.columns[-1].justify = "left"
    fullest = max((one.share for one in stats.sizes), default=0.0)
    for one in stats.sizes:
        bar = "█" * round(_BAR_CHARS * one.share / fullest) if fullest else ""
        sizes.add_row(one.name, str(one.boxes), f"{one.share:.1%}", bar)
    console.print(sizes)
    coco = ", ".join(f"{one.share:.1%} {one.name}" for one in stats.coco)
    console.print(
        f"{stats.images} pictures, {stats.boxes} objects, at a long side of "
        f"{stats.long_side_px} px; as COCO has it, {coco}",
        soft_wrap=True,
    )


def _counts(first: str, *others: str) -> Table:
    table = Table(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
