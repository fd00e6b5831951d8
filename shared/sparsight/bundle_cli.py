"""`sparsight bundle show | verify`: what a bundle is, and whether every byte of it is as written.

Both halves have these commands; whoever can build bundles adds `build`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

Folder = Annotated[
    Path | None, typer.Argument(help="The bundle's folder; the default bundle without.")
]


def bundle_app() -> typer.Typer:
    """The group of commands about bundles."""
    app = typer.Typer(help="Show, verify and build bundles.", no_args_is_help=True)
    app.command("show")(show)
    app.command("verify")(verify)
    return app


def show(
    folder: Folder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Show what a bundle is: classes, slicer, rates and files.

    Examples:
        sparsight bundle show

        sparsight bundle show models/default --json
    """
    from sparsight.bundle import default_bundle, open_bundle

    bundle = open_bundle(folder or default_bundle())
    manifest = bundle.manifest
    console = Console()
    if as_json:
        console.print_json(manifest.model_dump_json())
        return
    table = Table(title=f"{manifest.name}  {manifest.id[:12]}", title_justify="left")
    table.add_column("what")
    table.add_column("value")
    table.add_row("classes", ", ".join(manifest.classes))
    table.add_row("backbone", bundle.model.backbone)
    table.add_row("long side", f"{manifest.long_side_px} px")
    height, width = manifest.patch_hw
    table.add_row("patches", f"{height}x{width} cells, threshold {manifest.threshold:g}")
    table.add_row("head", f"where the heat is {manifest.mark:g} or more")
    if manifest.rates:
        table.add_row("device half", manifest.precision)
        table.add_row("cloud half", f"{manifest.cloud_id[:12]}, on the wire")
        table.add_row("devices send", f"rate {manifest.default_rate}, unless told another")
    for name in manifest.sha256:
        size_kb = (bundle.folder / name).stat().st_size / 1e3
        table.add_row(name, f"{size_kb:,.1f} kB")
    console.print(table)
    if not manifest.rates:
        console.print("no codec: it detects in one process and can't be run in two halves")
        return
    rates = Table(title="rates", title_justify="left")
    for heading in ("rate", "kB a frame", "AP", "AP50"):
        rates.add_column(heading, justify="right")
    for i, rate in enumerate(manifest.rates):
        size = None if rate.bytes_per_frame is None else rate.bytes_per_frame / 1e3
        rates.add_row(str(i), _shown(size), _percent(rate.ap), _percent(rate.ap50))
    console.print(rates)


def verify(folder: Folder = None) -> None:
    """Check every byte of a bundle against its manifest; exit code 5 if it was changed.

    Examples:
        sparsight bundle verify models/default
    """
    from sparsight.bundle import default_bundle, open_bundle

    bundle = open_bundle(folder or default_bundle())
    files = len(bundle.manifest.sha256) + 1
    typer.echo(f"{bundle.folder}: {files} files as written, id {bundle.manifest.id}")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
