"""`sparsight bundle bases`: what a detector costs on each backbone, and where it runs."""

from typing import Annotated

import typer
from rich.console import Console

from sparsight.errors import UsageError
from sparsight_cloud.progress import counting

SIDE_PX_MAX = 16384


def bases(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Backbones, names of timm's; those with a recipe without.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="The frame, in pixels; sides multiples of 32.")
    ] = "1536x864",
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Also try whether each exports to ONNX, what it takes in onnxruntime on one "
            "thread, and whether TensorRT builds it; takes minutes.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no table.")] = False,
) -> None:
    """Compare backbones: parameters, GFLOPs dense and split, whether they export and build.

    Deep part `cells`: the kept cells of all patches are computed at once, as if the frame were
    whole. `patches`: each patch by itself, for backbones that mix cells by attention or pooling.

    Examples:
        sparsight bundle bases

        sparsight bundle bases resnet50 convnext_nano --size 2048x1152

        sparsight bundle bases --check --json
    """
    size_wh = _size(size)
    from sparsight.geometry import CELL_PX
    from sparsight_cloud.bases.figures import BASES, figures_of, network_on
    from sparsight_cloud.bases.tables import Row, to_json, to_markdown
    from sparsight_cloud.bases.trial import try_device_half

    cells_hw = (size_wh[1] // CELL_PX, size_wh[0] // CELL_PX)
    console = Console(stderr=True)
    rows = list[Row]()
    quiet = as_json or not console.is_terminal
    with counting(console, disable=quiet, looks_back_s=600) as bar:
        for name in bar.track(names or BASES, description="bases counted"):
            network = network_on(name)
            figures = figures_of(network, cells_hw)
            rows.append(Row(figures, try_device_half(network, size_wh) if check else None))
    if as_json:
        Console().print_json(data=to_json(rows, size_wh))
    else:
        typer.echo(to_markdown(rows, size_wh))


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if width.isdecimal() and height.isdecimal():
        size_wh = int(width), int(height)
        if all(0 < side <= SIDE_PX_MAX and side % 32 == 0 for side in size_wh):
            return size_wh
    raise UsageError(
        f"--size: expected WIDTHxHEIGHT, multiples of 32 px up to {SIDE_PX_MAX}, as 1536x864; "
        f"got {text!r}"
    )
