"""`sparsight data`: convert annotated sets, and look at one before training on it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from sparsight.errors import DataError, UsageError
from sparsight_cloud.commands.data_options import (
    AllowEmpty,
    Annotations,
    AsJson,
    DropBadBoxes,
    Images,
    SplitOption,
    counts,
    end_with_problems,
    print_json,
    print_notes,
    reading_of,
)
from sparsight_cloud.commands.data_stats import stats
from sparsight_cloud.data.choices import Format, Placing, Split, Target

if TYPE_CHECKING:
    from sparsight_cloud.data.summary import Summary


data_app = typer.Typer(
    name="data",
    help="Convert, check and measure annotated data sets.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


data_app.command()(stats)


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
    reading = reading_of(allow_empty, drop_bad_boxes, split, as_json)
    dataset = scan_dataset(source, images, from_, reading)
    if reading.problem_count:
        end_with_problems(source, reading, as_json)
    if to is Target.COCO:
        write_coco(dataset, out)
    else:
        write_yolo(dataset, out, pictures)
    summary = summarise(dataset)
    if as_json:
        print_json({"out": str(out), "notes": reading.notes, "summary": asdict(summary)})
        return
    print_notes(reading)
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

    reading = reading_of(allow_empty, drop_bad_boxes, split, as_json)
    summary = summarise(scan_dataset(annotations, images, from_, reading))
    if as_json:
        print_json(
            {
                "summary": asdict(summary),
                "notes": reading.notes,
                "problem_count": reading.problem_count,
                "problems": [asdict(problem) for problem in reading.problems],
            }
        )
        raise typer.Exit(DataError.exit_code if reading.problem_count else 0)
    _print_summary(annotations, summary)
    print_notes(reading)
    if reading.problem_count:
        end_with_problems(annotations, reading, as_json=False)
    typer.echo("no problems")


def _require_free(out: Path, to: Target) -> None:
    if to is Target.COCO and out.suffix.lower() != ".json":
        raise UsageError(f"{out}: expected the name of a .json file to write; change --out")
    if out.is_dir() and to is Target.YOLO and not any(out.iterdir()):
        return
    if out.exists():
        raise UsageError(f"{out}: there already; nothing is overwritten, remove it or change --out")


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
    sizes = counts("size of a box", "boxes", "share")
    for size, end in zip(summary.sizes, ends, strict=True):
        sizes.add_row(f"{size.name}, {size.from_px:g} {end}", str(size.boxes), f"{size.share:.1%}")
    console.print(sizes)
    classes = counts("class", "id", "boxes", "share", "pictures")
    for c in summary.classes:
        share = c.boxes / max(summary.boxes, 1)
        classes.add_row(c.name, str(c.category_id), str(c.boxes), f"{share:.1%}", str(c.images))
    console.print(classes)
