"""`sparsight cloud`: the service that answers devices, and a look at its results."""

import contextlib
import os
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from sparsight.errors import UsageError
from sparsight_cloud.sinks.sink import SinkName

if TYPE_CHECKING:
    from sparsight_cloud.serving.batching import BatchRule
    from sparsight_cloud.serving.up import MakeDispatch, Ready
    from sparsight_cloud.sinks.follow import Position

cloud_app = typer.Typer(
    name="cloud",
    help="Answer devices, and look at what came.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_REDRAWS_PER_S = 4

Out = Annotated[Path, typer.Option("--out", help="Folder of the results.", show_default=False)]


class Target(str, Enum):
    """What results can be exported to."""

    PARQUET = "parquet"
    COCO = "coco"


@cloud_app.command()
def up(
    out: Out,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a bundle; the default one without. May be repeated."),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Processes that compute, started by Ray; 1 without.",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a Ray cluster's head, or `auto`; without, one is started here and "
            "ends with this program."
        ),
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Compute in this process, without Ray.")
    ] = False,
    listen: Annotated[
        str, typer.Option(help="HOST:PORT where devices call; port 0 is any.")
    ] = "127.0.0.1:7443",
    pki: Annotated[
        Path | None, typer.Option(help="Folder with ca.crt, server.crt and server.key.")
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Without certificates; on this machine's loopback only."),
    ] = False,
    metrics: Annotated[
        str | None, typer.Option(help="HOST:PORT of the counters for Prometheus; none without.")
    ] = None,
    sink: Annotated[
        list[SinkName] | None,
        typer.Option(help="Write results in this form too; may be repeated."),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=256, help="Frames in one forward pass at most.")
    ] = 8,
    wait_ms: Annotated[
        float,
        typer.Option(min=0, max=1000, help="How long a frame waits for others to share its pass."),
    ] = 4.0,
    fsync: Annotated[
        bool,
        typer.Option(help="Wait for the disk before a device hears of a result."),
    ] = True,
    archive: Annotated[
        Path | None,
        typer.Option(help="Keep payloads in this folder, for `sparsight batch --from-features`."),
    ] = None,
    archive_bytes: Annotated[
        int,
        typer.Option(min=1 << 20, help="Most bytes of them; the oldest are removed."),
    ] = 10 << 30,
    archive_hours: Annotated[
        float | None,
        typer.Option(min=0.01, help="Remove those that are older; never without."),
    ] = None,
) -> None:
    """Answer devices until Ctrl-C; one line says where, once it listens.

    Results are lines of JSON in OUT/results. A result is on disk before its device hears of it, and
    each frame is there once, however often it was sent. Ctrl-C sends devices away, finishes what is
    in flight and ends; they come back to the next start.

    Ray starts the processes that compute, shares out the processors among them and replaces one
    that dies; its own start takes 10 to 20 s. For a small machine or a try there is --in-process.

    Examples:
        sparsight pki dev --out pki --device drone-1

        sparsight cloud up --pki pki --out results --listen 0.0.0.0:7443 --replicas 2

        sparsight cloud up --pki pki --out results --address auto --replicas 8

        sparsight cloud up --insecure --in-process --out results

        sparsight cloud up --pki pki --out results --archive payloads --archive-hours 72
    """
    if insecure == (pki is not None):
        raise UsageError(
            "expected either --pki DIR (make one with `sparsight pki dev`) or --insecure, "
            f"got {'both' if insecure else 'neither'}"
        )
    if in_process and not (replicas is None and address is None):
        raise UsageError("expected --in-process alone, or --replicas and --address for Ray")
    # Read once, when grpc is imported: its own log is for its own developers.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

    from sparsight.bundle import default_bundle
    from sparsight.logs import log_to_stderr
    from sparsight_cloud.serving.archive import ArchiveRule
    from sparsight_cloud.serving.batching import BatchRule
    from sparsight_cloud.serving.commit import CommitRule
    from sparsight_cloud.serving.gateway import Door
    from sparsight_cloud.serving.up import CloudSettings, serve

    settings = CloudSettings(
        door=Door(listen, pki),
        out=out,
        metrics=metrics,
        sinks=tuple(sink or ()),
        commit=CommitRule(fsync=fsync),
        archive=archive,
        archive_rule=ArchiveRule(
            archive_bytes, None if archive_hours is None else archive_hours * 3600
        ),
    )
    folders, rule = bundle or [default_bundle()], BatchRule(batch, wait_ms)
    log_to_stderr()
    if in_process:
        make_dispatch = _in_process(folders, rule)
    else:
        make_dispatch = _on_ray(folders, rule, address, replicas or 1, out)
    serve(settings, make_dispatch, lambda ready: _say_ready(ready, out))


@cloud_app.command()
def watch(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the results.", show_default=False)
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

    It reads the files beside the cloud that writes them and disturbs nobody; several may watch.

    Examples:
        sparsight cloud watch results

        sparsight cloud watch results --json | jq -c '[.device, .seq, (.scores | length)]'
    """
    from sparsight_cloud.sinks.follow import Position, end_of
    from sparsight_cloud.sinks.results import require_results

    require_results(out)
    at = Position(1, 0) if everything or once else end_of(out)
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            _print_lines(out, at, once)
        else:
            _draw(out, at, once)


@cloud_app.command()
def export(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the results.", show_default=False)
    ],
    to: Annotated[Target, typer.Option("--to", help="Format to write.", show_default=False)],
    file: Annotated[Path, typer.Option("--file", help="File to write.", show_default=False)],
) -> None:
    """Write all results into one file, as Parquet or as COCO JSON.

    The cloud may be running: what is on disk by now is written.

    Examples:
        sparsight cloud export results --to coco --file day.json

        sparsight cloud export results --to parquet --file day.parquet
    """
    from sparsight_cloud.sinks.coco import export_coco
    from sparsight_cloud.sinks.parquet import export_parquet
    from sparsight_cloud.sinks.results import require_results

    require_results(out)
    if file.exists():
        raise UsageError(f"{file}: there already; nothing is overwritten, change --file")
    try:
        n = export_coco(out, file) if to is Target.COCO else export_parquet(out, file)
    except OSError as error:
        raise UsageError(f"{file}: can't be written ({error.strerror}); change --file") from error
    typer.echo(f"wrote {file}: {n} frames")


def _in_process(folders: list[Path], rule: "BatchRule") -> "MakeDispatch":
    from sparsight_cloud.serving.in_process import InProcessDispatch
    from sparsight_cloud.serving.replica import BundleReplica

    replica = BundleReplica.from_bundles(folders)
    return lambda saw_batch: InProcessDispatch(replica, rule, saw_batch)


def _on_ray(
    folders: list[Path], rule: "BatchRule", address: str | None, n: int, out: Path
) -> "MakeDispatch":
    from sparsight_cloud.serving.ray_app import Replicas, app_name
    from sparsight_cloud.serving.ray_cluster import RayCluster
    from sparsight_cloud.serving.ray_replica import Model
    from sparsight_cloud.serving.ray_serve import RayServeDispatch

    # In somebody's cluster a replica takes one processor; our own has nobody else.
    each = max(1, len(os.sched_getaffinity(0)) // n) if address is None else 1
    cluster = RayCluster(address, cpus=n * each)
    model = Model.of_bundles(folders)
    replicas = Replicas(n, each)
    return lambda saw_batch: RayServeDispatch(
        model, cluster, replicas, rule, saw_batch, app=app_name(out)
    )


def _say_ready(ready: "Ready", out: Path) -> None:
    typer.echo(f"listening on {ready.address}, results in {out} ({ready.committed} frames)")
    if ready.metrics is not None:
        typer.echo(f"metrics at http://{ready.metrics}/metrics")
    sys.stdout.flush()  # whoever started this in a pipe waits for the line


def _print_lines(out: Path, at: "Position", once: bool) -> None:
    from sparsight_cloud.sinks.follow import follow

    for line in follow(out, at):
        if line is not None:
            sys.stdout.buffer.write(line)
        elif once:
            return
        else:
            sys.stdout.flush()


def _draw(out: Path, at: "Position", once: bool) -> None:
    from sparsight_cloud.serving.records import from_line
    from sparsight_cloud.sinks.follow import follow
    from sparsight_cloud.sinks.results import read_classes
    from sparsight_cloud.sinks.watch import Watch

    seen = Watch(read_classes(out))
    console = Console(markup=False, highlight=False)  # names of devices are no markup
    if once:
        for line in follow(out, at):
            if line is None:
                break
            seen.saw(from_line(line))
        console.print(seen.table())
        return
    with Live(seen.table(), console=console, auto_refresh=False) as live:
        for line in follow(out, at, poll_s=1 / _REDRAWS_PER_S):
            if line is not None:
                seen.saw(from_line(line))
            else:
                live.update(seen.table(), refresh=True)
