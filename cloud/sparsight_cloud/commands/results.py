"""`sparsight cloud watch` and `export`: a look at what gateways have committed."""

import contextlib
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from sparsight.errors import UsageError

if TYPE_CHECKING:
    from sparsight_cloud.sinks.logs import Ends

_REDRAWS_PER_S = 4


class Target(str, Enum):
    """What results can be exported to."""

    PARQUET = "parquet"
    COCO = "coco"


def watch(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Folder of the results, or the one above those of several gateways.",
            show_default=False,
        ),
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="Begin with what is there, not with what comes.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Show what is there and end; implies --all.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the lines themselves, one a frame.")
    ] = False,
) -> None:
    """Follow results as they are committed, until Ctrl-C.

    It reads the files beside the cloud that writes them and disturbs nobody; several may watch. Of
    several gateways that write below one folder, OUT is that one: each frame is shown once.

    Examples:
        sparsight cloud watch results

        sparsight cloud watch results --json | jq -c '[.device, .seq, (.scores | length)]'
    """
    from sparsight_cloud.sinks.logs import ends_of, require_results

    require_results(out)
    ends = {} if everything or once else ends_of(out)
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            _print_lines(out, ends, once)
        else:
            _draw(out, ends, once)


def export(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Folder of the results, or the one above those of several gateways.",
            show_default=False,
        ),
    ],
    to: Annotated[Target, typer.Option("--to", help="Format to write.", show_default=False)],
    file: Annotated[Path, typer.Option("--file", help="File to write.", show_default=False)],
) -> None:
    """Write all results into one file, as Parquet or as COCO JSON.

    The cloud may be running: what is on disk by now is written. Of several gateways that write
    below one folder, OUT is that one: each frame is written once, as it was committed first.

    Examples:
        sparsight cloud export results --to coco --file day.json

        sparsight cloud export results --to parquet --file day.parquet
    """
    from sparsight_cloud.sinks.coco import export_coco
    from sparsight_cloud.sinks.logs import require_results
    from sparsight_cloud.sinks.parquet import export_parquet

    require_results(out)
    if file.exists():
        raise UsageError(f"{file}: there already; nothing is overwritten, change --file")
    try:
        n = export_coco(out, file) if to is Target.COCO else export_parquet(out, file)
    except OSError as error:
        raise UsageError(f"{file}: can't be written ({error.strerror}); change --file") from error
    typer.echo(f"wrote {file}: {n} frames")


def _print_lines(out: Path, ends: "Ends", once: bool) -> None:
    from sparsight_cloud.sinks.logs import follow

    for line in follow(out, ends):
        if line is not None:
            sys.stdout.buffer.write(line)
        elif once:
            return
        else:
            sys.stdout.flush()


def _draw(out: Path, ends: "Ends", once: bool) -> None:
    from sparsight_cloud.serving.records import from_line
    from sparsight_cloud.sinks.logs import classes_of, follow
    from sparsight_cloud.sinks.watch import Watch

    seen = Watch(classes_of(out))
    console = Console(markup=False, highlight=False)  # names of devices are no markup
    if once:
        for line in follow(out, ends):
            if line is None:
                break
            seen.saw(from_line(line))
        console.print(seen.table())
        return
    with Live(seen.table(), console=console, auto_refresh=False) as live:
        for line in follow(out, ends, poll_s=1 / _REDRAWS_PER_S):
            if line is not None:
                seen.saw(from_line(line))
            else:
                seen.classes = classes_of(out)  # other bundles are served while we look
                live.update(seen.table(), refresh=True)
