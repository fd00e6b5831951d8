"""`sparsight bundle export | precisions`: the device half at other precisions, and their price."""

import importlib.util
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from sparsight.errors import UsageError
from sparsight_cloud.progress import counting

PICTURES = 48
"""Pictures that int8 is calibrated on, unless told otherwise."""


def export(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle, in fp32.")],
    precision: Annotated[
        Literal["fp32", "fp16", "int8-x86", "int8-trt"],
        typer.Option(help="What the new bundle's device half computes in."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; empty or not there.")],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of pictures as the device sees them, for int8; never those that the "
            "bundle is judged on."
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=1, help="How many of them, evenly over the folder.")
    ] = PICTURES,
) -> None:
    """Write a bundle anew with its device half at another precision.

    fp32 and int8-x86 are for CPUs, fp16 and int8-trt for TensorRT. A cloud that serves the bundle
    answers devices with any of its copies: payloads name what they share.

    Examples:
        sparsight bundle export models/default --precision int8-x86 --images flights --out int8

        sparsight bundle export models/default --precision fp16 --out fp16
    """
    _require_onnx()
    from sparsight.bundle import open_bundle
    from sparsight.pictures import read_picture
    from sparsight_cloud.data.pictures import list_pictures
    from sparsight_cloud.precision.export import export_bundle

    opened = open_bundle(bundle)
    console = Console(stderr=True)
    files = [] if images is None else list(list_pictures(images).values())
    if images is not None and not files:
        raise UsageError(f"{images}: no pictures in it; give the folder that holds them")
    chosen = files[:: max(1, len(files) // pictures)][:pictures]
    with counting(console) as bar:
        frames = [read_picture(file) for file in bar.track(chosen, description="pictures read")]
    manifest, fidelity = export_bundle(opened, precision, frames, out, console)
    typer.echo(f"{out}: bundle {manifest.id[:12]} in {precision}: {fidelity.line}")


def precisions(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle in fp32.")],
    others: Annotated[list[Path], typer.Argument(help="Folders of its copies (`bundle export`).")],
    data: Annotated[Path, typer.Option(help="Annotations to judge on, a COCO file.")],
    images: Annotated[Path, typer.Option(help="Folder of their pictures.")],
    rate: Annotated[
        int | None,
        typer.Option(min=0, help="Quality level of the codec; the devices' default without."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Judge the first pictures only, this many.")
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Write the table into the card of each bundle.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no table.")] = False,
) -> None:
    """Judge a bundle and its copies side by side: AP, bpr, payload bytes, engine time.

    Times are of one thread of onnxruntime, in turns on the same pictures; copies for TensorRT have
    none. `--card` changes the bundles' ids, not what clouds know them by.

    Examples:
        sparsight bundle precisions models/default int8 fp16 --data val.json --images val --card
    """
    from sparsight.bundle import open_bundle
    from sparsight_cloud.data.coco import read_coco
    from sparsight_cloud.precision.compare import judge_precisions, to_json, to_table, write_cards

    bundles = [open_bundle(folder) for folder in (bundle, *others)]
    dataset = read_coco(data, images)
    rows = judge_precisions(bundles, dataset, rate, limit, Console(stderr=True))
    if card:
        write_cards(bundles, rows, data.name)
    shown = Console()
    if as_json:
        shown.print_json(data=to_json(rows))
    else:
        shown.print(to_table(rows), markup=False, highlight=False, soft_wrap=True)


def _require_onnx() -> None:
    if importlib.util.find_spec("onnx") is None:
        raise UsageError("export needs more packages: pip install 'sparsight[train]'")
