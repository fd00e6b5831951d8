"""`sparsight cloud deploy` and `down`: replicas that several gateways share."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sparsight.errors import UsageError

if TYPE_CHECKING:
    from sparsight_cloud.serving.ray_cluster import RayCluster

T = TypeVar("T")

Bundle = Annotated[
    list[Path] | None,
    typer.Option(help="Folder of a bundle; the default one without. May be repeated."),
]
Count = Annotated[
    str | None,
    typer.Option(
        "--replicas",
        metavar="N|N-M",
        help="Processes that compute, started by Ray; 1 without. Of a range such as 1-8 there are "
        "more while frames wait for them.",
        show_default=False,
    ),
]
Cpus = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=1024,
        help="Processors that Ray sets aside for each replica; 1 without, or this machine's share "
        "if Ray is started here.",
        show_default=False,
    ),
]
Gpus = Annotated[
    float,
    typer.Option(
        min=0,
        max=64,
        help="GPUs for each replica, which then computes there; .5 lets two share one.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="HOST:PORT of a Ray cluster's head, or `auto`; without, one is started here and "
        "ends with this program."
    ),
]
App = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the replicas that several gateways of one cluster share; needs --address.",
        show_default=False,
    ),
]
Head = Annotated[
    str,
    typer.Option("--address", help="HOST:PORT of the Ray cluster's head, or `auto`."),
]
Name = Annotated[
    str, typer.Option("--app", metavar="NAME", help="Name of the replicas.", show_default=False)
]


def deploy(
    app: Name,
    address: Head = "auto",
    bundle: Bundle = None,
    replicas: Count = None,
    cpus: Cpus = None,
    gpus: Gpus = 0.0,
) -> None:
    """Start replicas that gateways share, or roll them over to other bundles or another number.

    They are replaced one after the other while the gateways go on; no frame is lost. Devices of a
    bundle that is not named any more are told so, and keep their frames until it is served again:
    so name the old bundle beside the new one until all devices have changed over.

    Examples:
        sparsight cloud deploy --app fleet --bundle old --replicas 1-8

        sparsight cloud deploy --app fleet --bundle old --bundle new --replicas 1-8

        sparsight cloud deploy --app fleet --bundle new --replicas 1-8
    """
    from sparsight.bundle import default_bundle
    from sparsight_cloud.serving.ray_app import RayApp
    from sparsight_cloud.serving.ray_replica import Model
    from sparsight_cloud.serving.ray_wishes import RayWishes

    wishes = RayWishes(address, app, replicas, cpus, gpus)
    count = wishes.counted()
    model = Model.of_bundles(bundle or [default_bundle()], count.device)
    there = RayApp(app, model, count, shared=True)
    state = _in_cluster(wishes.cluster(), there.deploy)
    serves = ", ".join(name[:12] for name in state.serves.bundles)
    typer.echo(f"{app}: {state.running} of {replicas or 1} replicas serve {serves}")


def down(app: Name, address: Head = "auto") -> None:
    """End replicas that gateways shared; what they compute is finished first.

    Gateways that still use them tell their devices to come back later.

    Examples:
        sparsight cloud down --app fleet --address head:6380
    """
    from sparsight_cloud.serving.ray_app import RayApp
    from sparsight_cloud.serving.ray_wishes import RayWishes

    wishes, there = RayWishes(address, app), RayApp(app, shared=True)

    async def remove(cluster: "RayCluster") -> None:
        if not await there.exists(cluster):
            raise UsageError(f"{app}: no such replicas in the cluster at {address}")
        await there.remove(cluster)

    _in_cluster(wishes.cluster(), remove)
    typer.echo(f"{app}: ended")


def _in_cluster(cluster: "RayCluster", do: "Callable[[RayCluster], Awaitable[T]]") -> T:
    """Join a cluster, do something there, and leave."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from sparsight.logs import log_to_stderr
    from sparsight_cloud.serving.dispatch import DispatchUnavailableError

    async def run() -> T:
        await cluster.start()
        try:
            return await do(cluster)
        except DispatchUnavailableError as error:
            raise UsageError(f"{error}; try again") from error
        finally:
            await cluster.close()

    log_to_stderr()
    return asyncio.run(run())
