"""`sparsight pki`: certificates for trying the service out."""

from pathlib import Path
from typing import Annotated

import typer

pki_app = typer.Typer(
    name="pki",
    help="Certificates of devices and of the cloud.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@pki_app.callback()
def _group() -> None:
    """Certificates of devices and of the cloud."""


@pki_app.command()
def dev(
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the certificates.", show_default=False)
    ],
    device: Annotated[
        list[str],
        typer.Option("--device", help="Name of a device; may be repeated.", show_default=False),
    ],
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            help="Name or address that devices call the cloud by; may be repeated. "
            "This machine's loopback without.",
        ),
    ] = None,
) -> None:
    """Make a private authority, a server's and some devices' certificates.

    Run it again with other names to add devices. The folder holds the authority's secret key:
    whoever has it can be any device, so give a device ca.crt and its own two files only.

    Examples:
        sparsight pki dev --out pki --device drone-1 --device drone-2

        sparsight pki dev --out pki --device drone-1 --host cloud.example.org
    """
    from sparsight_cloud.serving.pki import write_dev_pki

    for path in write_dev_pki(out, device, host):
        typer.echo(path)
