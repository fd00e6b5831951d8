"""`sparsight eval`: what a bundle is worth on a labelled set."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from sparsight.errors import PictureError


def evaluate(
    data: Annotated[Path, typer.Option(help="Annotations, a COCO file.")],
    images: Annotated[Path, typer.Option(help="Folder of the pictures.")],
    out: Annotated[Path, typer.Option(help="Where the report goes, as JSON.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; the default one without.")
    ] = None,
    mode: Annotated[
        Literal["split", "dense"] | None,
        typer.Option(help="Run the deep layers on patches or on whole frames."),
    ] = None,
    long_side: Annotated[
        int | None,
        typer.Option(min=64, max=16384, help="Long side of the network's input, in pixels."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Heat from which a peak counts as an object, in (0, 1].")
    ] = None,
    max_patches: Annotated[
        int | None, typer.Option(min=0, help="Patches of a frame at most, the best ones.")
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            min=0, help="Send the patches through the codec at this rate; 0 is the finest."
        ),
    ] = None,
    no_sparse_head: Annotated[
        bool, typer.Option("--no-sparse-head", help="Run the head on every cell of the patches.")
    ] = False,
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            help="The data set's class for one of the bundle's, such as van=car; van= drops it. "
            "Others match by name. May be repeated."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Judge the first pictures only, this many.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report, no tables.")] = False,
) -> None:
    """Judge a bundle on a labelled set: AP, coverage, cost.

    What is not given is as the bundle has it.

    Pictures that can't be read are named and left out; the exit code is then 4.
    """
    from sparsight.bundle import default_bundle, open_bundle
    from sparsight_cloud.data.coco import read_coco
    from sparsight_cloud.evaluation.classes import parse_mapping
    from sparsight_cloud.evaluation.judge import adjusted, judge
    from sparsight_cloud.evaluation.report import require_writable, write_report
    from sparsight_cloud.evaluation.tables import class_table, main_table

    # What can be wrong with the arguments comes out first, before torch is loaded and the minutes
    # of work begin.
    require_writable(out)
    mapping = parse_mapping(class_map or [])
    shipped = open_bundle(bundle or default_bundle())
    settings = adjusted(
        shipped.manifest.detect_settings(),
        mode=mode,
        long_side_px=long_side,
        threshold=threshold,
        max_patches=max_patches,
        sparse_head=False if no_sparse_head else None,
        rate=rate,
    )
    dataset = read_coco(data, images)

    from sparsight.model.detector import Detector

    detector = Detector.from_bundle(shipped.folder)
    about = {
        "bundle": {"name": shipped.manifest.name, "id": shipped.manifest.id},
        "annotations": data.name,
    }
    report = judge(detector, dataset, settings, mapping, limit, about, Console(stderr=True))
    write_report(report, out)
    shown = Console()
    if as_json:
        shown.print_json(data=report)
    else:
        shown.print(main_table(report), class_table(report), sep="\n")
        shown.print(f"report: {out}", markup=False, highlight=False, soft_wrap=True)
    if report["images_failed"]:
        raise typer.Exit(PictureError.exit_code)
