"""`sparsight detect`: find the objects of pictures."""

import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console


def detect(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Pictures, folders of them, or quoted patterns."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the annotated pictures and detections.json.")
    ],
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; the default one without.")
    ] = None,
    conf: Annotated[
        float, typer.Option(min=0.001, max=0.999, help="Score from which an object counts.")
    ] = 0.25,
    classes: Annotated[
        str | None, typer.Option(help="Look for these only, such as car,van; all without.")
    ] = None,
    max_patches: Annotated[
        int | None, typer.Option(min=0, help="Patches of a frame at most, the best ones.")
    ] = None,
    long_side: Annotated[
        int | None,
        typer.Option(min=64, max=16384, help="Long side of the network's input, in pixels."),
    ] = None,
    mode: Annotated[
        Literal["split", "dense"] | None,
        typer.Option(help="Run the deep layers on patches or on whole frames."),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look into the folders of folders too.")
    ] = False,
    show_heat: Annotated[
        bool, typer.Option("--show-heat", help="Draw where the seeker looked, and the patches.")
    ] = False,
    annotations: Annotated[
        Path | None, typer.Option(help="COCO file of these pictures: print AP too.")
    ] = None,
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            help="The annotations' class for one of the bundle's, such as van=car; van= drops it. "
            "Others match by name. May be repeated."
        ),
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="The most pixels a picture may have; 200 million.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a summary as JSON, no tables.")
    ] = False,
) -> None:
    """Find the objects of pictures: annotated copies, detections.json and a table.

    A picture that can't be read is named, the others are done, and the exit code is then 4. What is
    not given is as the bundle has it. In detections.json category_id counts the bundle's classes
    from 1.
    """
    from sparsight.bundle import default_bundle, open_bundle
    from sparsight.pictures import MAX_PIXELS
    from sparsight_cloud.detection.judging import read_labels
    from sparsight_cloud.detection.sources import find_sources
    from sparsight_cloud.detection.wishes import Wishes, chosen_labels, least_score
    from sparsight_cloud.evaluation.classes import parse_mapping
    from sparsight_cloud.evaluation.judge import adjusted

    # What can be wrong with the arguments comes out first, before torch is loaded.
    pictures = find_sources(sources, out, recursive)
    mapping = parse_mapping(class_map or [])
    shipped = open_bundle(bundle or default_bundle())
    settings = adjusted(
        shipped.manifest.detect_settings(),
        mode=mode,
        long_side_px=long_side,
        max_patches=max_patches,
    )
    wishes = Wishes(
        settings=least_score(settings, conf, judged=annotations is not None),
        conf=conf,
        labels=chosen_labels(classes, shipped.manifest.classes),
        max_pixels=max_pixels or MAX_PIXELS,
        show_heat=show_heat,
    )
    labels = read_labels(annotations, pictures, mapping) if annotations else None

    from sparsight.model.detector import Detector
    from sparsight_cloud.detection.session import Screens, run_session

    # Pillow warns of damaged metadata that it then does without.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\b")
    code = run_session(
        Detector.from_bundle(shipped.folder),
        pictures,
        wishes,
        out,
        Screens(Console(stderr=True), Console(), machine=as_json),
        labels,
    )
    if code:
        raise typer.Exit(code)
