"""`sparsight bench`: measurements that others can repeat on their own data."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

INTERRUPTED = 130

bench_app = typer.Typer(
    name="bench",
    help="Measure a bundle against what it replaces.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@bench_app.callback()
def _group() -> None:
    """Measure a bundle against what it replaces."""


@bench_app.command()
def rate(
    data: Annotated[
        Path, typer.Option("--data", help="Annotations, a COCO file.", show_default=False)
    ],
    images: Annotated[
        Path, typer.Option("--images", help="Folder of the pictures.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Where the report goes, as JSON; the picture beside it, as SVG."
        ),
    ],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Folder of the bundle; the default one without.")
    ] = None,
    pixel_bundle: Annotated[
        Path | None,
        typer.Option(
            "--pixel-bundle",
            help="A bundle whose detector learned from coded pictures: whole frames and regions "
            "of interest once more with it.",
        ),
    ] = None,
    sequence: Annotated[
        Path | None,
        typer.Option(
            "--sequence",
            help="Folder of a sequence's frames, with annotations.json: low-delay video.",
        ),
    ] = None,
    fps: Annotated[
        float, typer.Option("--fps", min=0.1, max=240, help="Frames a second of the sequence.")
    ] = 2.0,
    work: Annotated[
        Path | None,
        typer.Option(
            "--work", help="Folder of single results, where a run goes on; beside OUT without."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="Run some of whole, crops, roi, raw, ours, tuned, video now; what was run before "
            "is reported, too.",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="At a time, one thread each; all cores without."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="The first frames only, for a try.")
    ] = None,
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            "--class-map", help="The data set's class for one of the bundle's, such as van=car."
        ),
    ] = None,
    sequence_class_map: Annotated[
        list[str] | None,
        typer.Option("--sequence-class-map", help="Likewise for the sequence."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report, no tables.")] = False,
) -> None:
    """Bytes against AP: patch features, whole frames, crops and regions of interest.

    All rivals are JPEG, WebP, AVIF and H.265 on the same frames. It takes about a CPU minute a
    frame, goes on where it was stopped (Ctrl-C, exit code 130), and prints bytes over ours at
    equal AP.

    Examples:
        sparsight bench rate --data val.json --images images --out rate.json

        sparsight bench rate --data val.json --images images --out rate.json
            --only whole,ours --limit 5

        sparsight bench rate --data val.json --images images --out rate.json
            --sequence samples/munich --sequence-class-map van=minibus
    """
    from sparsight.bundle import default_bundle
    from sparsight.errors import UsageError
    from sparsight_cloud.evaluation.classes import parse_mapping
    from sparsight_cloud.evaluation.report import require_writable, usable_cores, write_report
    from sparsight_cloud.rates.rows import parts_of

    # What can be wrong with the arguments comes out first, before torch is loaded.
    if out.suffix in (".svg", ".work"):
        raise UsageError(
            f"--out: expected a .json file, got {out}; the picture and single results are named so"
        )
    require_writable(out)
    parts = parts_of(only or [])
    mapping, moving_mapping = (
        parse_mapping(class_map or []),
        parse_mapping(sequence_class_map or []),
    )

    from sparsight_cloud.rates.chart import chart
    from sparsight_cloud.rates.run import Asked, compare, open_pair, read_frames, read_sequence
    from sparsight_cloud.rates.tables import rate_tables

    people, shown = Console(stderr=True), Console()
    opened, tuned = open_pair(bundle or default_bundle(), pixel_bundle)
    classes = opened.manifest.classes
    asked = Asked(
        bundle=opened,
        tuned=tuned,
        frames=read_frames(data, images, classes, mapping, limit),
        sequence=read_sequence(sequence, classes, moving_mapping, limit) if sequence else None,
        fps=fps,
        annotations=data.name,
    )
    folder = work or out.with_suffix(".work")
    try:
        report = compare(asked, parts, folder, processes or usable_cores(), people)
    except KeyboardInterrupt:
        said = f"stopped; what is done is in {folder}, and the same command goes on from it"
        people.print(said, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    write_report(report, out)
    pictures = {".svg": (report, "all frames")}
    if report["sequence"]:
        pictures[".sequence.svg"] = (report["sequence"], "a sequence")
    for suffix, (comparison, title) in pictures.items():
        picture = chart(comparison, f"Bytes against AP, {title} ({comparison['frames']})")
        if picture is not None:
            out.with_suffix(suffix).write_text(picture, encoding="utf-8")
    if as_json:
        shown.print_json(data=report)
        return
    for table in rate_tables(report):
        shown.print(table)
    if report["missing"]:
        shown.print(f"not run on all frames: {len(report['missing'])} rows, named in the report")
    shown.print(f"report: {out}", markup=False, highlight=False, soft_wrap=True)
