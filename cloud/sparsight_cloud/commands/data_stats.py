"""`sparsight data stats`: what there is to save in a data set."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sparsight.errors import DataError
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
from sparsight_cloud.data.choices import Format, Split

if TYPE_CHECKING:
    from sparsight_cloud.data.stats import Stats

_BAR_CHARS = 30


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
    from sparsight.settings import DetectSettings
    from sparsight.slicer import SlicerSettings
    from sparsight_cloud.data.formats import scan_dataset
    from sparsight_cloud.data.stats import dataset_stats

    slicer = SlicerSettings(threshold=threshold)
    DetectSettings(long_side_px=long_side)  # refuses what no detector takes
    reading = reading_of(allow_empty, drop_bad_boxes, split, as_json)
    dataset = scan_dataset(annotations, images, from_, reading)
    if reading.problem_count:
        end_with_problems(annotations, reading, as_json)
    if not dataset.images:
        raise DataError(f"{annotations}: expected at least one picture, got none")
    track = reading.track
    told = dataset_stats(dataset, long_side, slicer, lambda items: track(items, "boxes"))
    if as_json:
        print_json({"stats": asdict(told), "notes": reading.notes})
        return
    _print_stats(annotations, told)
    print_notes(reading)


def _print_stats(annotations: Path, stats: "Stats") -> None:
    console = Console(markup=False, highlight=False)
    whole = counts(str(annotations), "mean", "10 %", "median", "90 %", "most")
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
    sizes = counts("size of an object, px", "objects", "share", "")
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
