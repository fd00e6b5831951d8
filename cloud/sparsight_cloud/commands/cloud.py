"""`sparsight cloud`: the service that answers devices, and a look at its results."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsight.errors import UsageError
from sparsight_cloud.commands.replicas import Address, App, Bundle, Count, Cpus, Gpus, deploy, down
from sparsight_cloud.commands.results import export, watch
from sparsight_cloud.sinks.sink import SinkName

if TYPE_CHECKING:
    from sparsight_cloud.serving.batching import BatchRule
    from sparsight_cloud.serving.up import MakeDispatch, Ready

cloud_app = typer.Typer(
    name="cloud",
    help="Answer devices, and look at what came.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Out = Annotated[Path, typer.Option("--out", help="Folder of the results.", show_default=False)]


@cloud_app.command()
def up(
    out: Out,
    bundle: Bundle = None,
    replicas: Count = None,
    cpus: Cpus = None,
    gpus: Gpus = 0.0,
    address: Address = None,
    app: App = None,
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
    health: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT where probes may ask for grpc.health.v1 without a certificate, and "
            "nothing else is served; none without. Devices' port answers it too, by mTLS."
        ),
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
    ] = 0.0,
    min_score: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Objects with a lower score are neither answered nor kept; answers are smaller "
            "then.",
        ),
    ] = 0.0,
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

    Ray starts the processes that compute, shares out the processors among them, starts more while
    frames wait (--replicas 1-8) and replaces one that dies; its own start takes 10 to 20 s. For a
    small machine or a try there is --in-process.

    Several gateways share their replicas by --app: the first one starts them, the others join, and
    they go on when a gateway ends. Give each gateway a folder of its own below one: OUT/a, OUT/b.
    See docs/cloud.md.

    Examples:
        sparsight pki dev --out pki --device drone-1

        sparsight cloud up --pki pki --out results --listen 0.0.0.0:7443 --replicas 2

        sparsight cloud up --pki pki --out results --address auto --replicas 1-8 --gpus .5

        sparsight cloud up --pki pki --out results/a --address head:6380 --app fleet --replicas 8

        sparsight cloud up --pki pki --out results/b --address head:6380 --app fleet

        sparsight cloud up --insecure --in-process --out results

        sparsight cloud up --pki pki --out results --archive payloads --archive-hours 72
    """
    if insecure == (pki is not None):
        raise UsageError(
            "expected either --pki DIR (make one with `sparsight pki dev`) or --insecure, "
            f"got {'both' if insecure else 'neither'}"
        )
    on_ray = {"replicas": replicas, "cpus": cpus, "address": address, "app": app, "gpus": gpus}
    given = [f"--{name}" for name, value in on_ray.items() if value]
    if in_process and given:
        raise UsageError(f"expected --in-process alone, or {', '.join(given)} for Ray")
    # Read once, when grpc is imported: its own log is for its own developers.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

    from sparsight.bundle import default_bundle
    from sparsight.logs import log_to_stderr
    from sparsight_cloud.serving.archive import ArchiveRule
    from sparsight_cloud.serving.batching import BatchRule
    from sparsight_cloud.serving.commit import CommitRule
    from sparsight_cloud.serving.gateway import Door
    from sparsight_cloud.serving.ray_wishes import RayWishes
    from sparsight_cloud.serving.up import CloudSettings, serve

    settings = CloudSettings(
        door=Door(listen, pki),
        out=out,
        metrics=metrics,
        health=health,
        sinks=tuple(sink or ()),
        commit=CommitRule(fsync=fsync),
        min_score=min_score,
        archive=archive,
        archive_rule=ArchiveRule(
            archive_bytes, None if archive_hours is None else archive_hours * 3600
        ),
    )
    folders, rule = bundle or [default_bundle()], BatchRule(batch, wait_ms)
    wishes = RayWishes(address, app, replicas, cpus, gpus)
    log_to_stderr()
    make = _in_process(folders, rule) if in_process else wishes.make(folders, rule, out)
    serve(settings, make, lambda ready: _say_ready(ready, out))


@cloud_app.command()
def health(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="Where to ask.", show_default=False)
    ],
    pki: Annotated[
        Path | None,
        typer.Option(help="Folder with ca.crt and a device's certificate; no TLS without."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Whose certificate of that folder to show.")
    ] = "probe",
    timeout_s: Annotated[
        float, typer.Option(min=0.1, max=60, help="How long to wait for the answer.")
    ] = 5.0,
) -> None:
    """Ask a gateway whether it takes devices; ends with 0 if it does, else with 9.

    Without --pki it asks at the address of `cloud up --health`, with it where devices call.

    Examples:
        sparsight cloud health 127.0.0.1:7444

        sparsight cloud health gateway.example:7443 --pki pki --device drone-1
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # why a call failed is in our own line

    from sparsight_cloud.serving.health import ask_health

    ask_health(address, pki, device, timeout_s)
    typer.echo("serving")


def _in_process(folders: list[Path], rule: "BatchRule") -> "MakeDispatch":
    from sparsight_cloud.serving.in_process import InProcessDispatch
    from sparsight_cloud.serving.replica import BundleReplica

    replica = BundleReplica.from_bundles(folders)
    return lambda ears: InProcessDispatch(replica, rule, ears)


def _say_ready(ready: "Ready", out: Path) -> None:
    typer.echo(f"listening on {ready.address}, results in {out} ({ready.committed} frames)")
    if ready.metrics is not None:
        typer.echo(f"metrics at http://{ready.metrics}/metrics")
    if ready.health is not None:
        typer.echo(f"health at {ready.health}, grpc.health.v1")
    sys.stdout.flush()  # whoever started this in a pipe waits for the line


for _command in (watch, export, deploy, down):
    cloud_app.command()(_command)
