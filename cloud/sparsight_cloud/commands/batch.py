"""`sparsight batch`: many pictures, by many processes."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparsight.errors import UsageError

batch_app = typer.Typer(
    name="batch",
    help="Look at many pictures, on this machine or a cluster.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@batch_app.callback()
def _group() -> None:
    """Keep `run` a command of its own while there is no other."""


@batch_app.command("run")
def batch_run(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Pictures, films, folders, quoted patterns, manifests (CSV, JSONL, Parquet); "
            "paths or URIs such as s3://bucket/flight.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option("--out", help="Folder or URI of the results.", show_default=False),
    ],
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; the default one without.")
    ] = None,
    conf: Annotated[
        float, typer.Option(min=0.001, max=0.999, help="Score from which an object counts.")
    ] = 0.25,
    max_patches: Annotated[
        int | None, typer.Option(min=0, help="Patches of a picture at most, the best ones.")
    ] = None,
    long_side: Annotated[
        int | None,
        typer.Option(min=64, max=16384, help="Long side of the network's input, in pixels."),
    ] = None,
    from_features: Annotated[
        bool,
        typer.Option(
            "--from-features",
            help="SOURCEs are recorded payloads: a device's --spool, a cloud's --archive.",
        ),
    ] = False,
    coded_by: Annotated[
        Path | None,
        typer.Option(help="Folder of the bundle that coded the payloads, if that is another one."),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look into the folders of folders too.")
    ] = False,
    every: Annotated[int, typer.Option(min=1, help="Of films, take one frame of so many.")] = 1,
    column: Annotated[
        str | None,
        typer.Option(help="Column of manifests that names the files; path, uri or the like."),
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="The most pixels a picture may have; 200 million.")
    ] = None,
    max_errors: Annotated[
        int | None,
        typer.Option(min=0, help="Give up when more pictures can't be read; any number without."),
    ] = None,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Try pictures again that could not be read.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Processes of each pool; one a processor without."),
    ] = None,
    look_gpus: Annotated[
        float, typer.Option(min=0, help="Share of a GPU for each process that runs the stem.")
    ] = 0.0,
    deep_gpus: Annotated[
        float, typer.Option(min=0, help="Share of a GPU for each that runs trunk and head.")
    ] = 0.0,
    address: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a Ray cluster's head, or `auto`; without, one is started here and "
            "ends with this program."
        ),
    ] = None,
    shard: Annotated[
        int, typer.Option(min=1, max=4096, help="Pictures that are done and written together.")
    ] = 8,
    budget: Annotated[
        int,
        typer.Option(min=1, help="Cells of patches in one pass through the deep part at most."),
    ] = 16_000,
    coco: Annotated[
        bool, typer.Option("--coco", help="Write all objects as COCO JSON, too.")
    ] = False,
    samples: Annotated[
        int, typer.Option(min=0, help="Write so many annotated pictures, spread over all.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON, no table.")
    ] = False,
) -> None:
    """Find the objects of many pictures: a Parquet row each, in OUT/rows.

    Killed at any moment and started again with the same arguments, it goes on where it was: no
    picture is missing and none is there twice. A picture that can't be read is a row that says why;
    the exit code is then 4.

    Examples:
        sparsight batch run flights --recursive --out found

        sparsight batch run day.mp4 --every 30 --out found --coco --samples 20

        sparsight batch run list.csv --out s3://bucket/found --address auto

        sparsight batch run archive --from-features --bundle new-head --coded-by old --out tried
    """
    from dataclasses import replace

    from sparsight.bundle import default_bundle, open_bundle
    from sparsight.pictures import MAX_PIXELS
    from sparsight_cloud.batch.orders import Order
    from sparsight_cloud.batch.sources import Taking, find_items
    from sparsight_cloud.batch.store import Store
    from sparsight_cloud.evaluation.judge import adjusted

    # Ray reads it when it is imported; what its C++ has to say is for its own developers.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

    # What can be wrong with the arguments comes out first, before Ray is started.
    store = Store(out)
    leave_out = None if store.local is None else str(store.local)
    shipped = open_bundle(bundle or default_bundle())
    coded: tuple[str, ...] = ()
    if from_features:
        if samples:
            raise UsageError("--samples: there are no pictures with --from-features; leave it out")
        from sparsight_cloud.batch.recorded import codings, find_recorded

        coded = codings(shipped.manifest, open_bundle(coded_by).manifest if coded_by else None)
        items = find_recorded(sources)
    else:
        items = find_items(sources, Taking(recursive, every, column, leave_out))
    settings = adjusted(
        shipped.manifest.detect_settings(), long_side_px=long_side, max_patches=max_patches
    )
    order = Order(
        bundle_id=shipped.manifest.id,
        bundle=shipped.manifest.name,
        classes=shipped.manifest.classes,
        settings=replace(settings, score_min=conf),
        max_pixels=max_pixels or MAX_PIXELS,
        shard=shard,
        budget_cells=budget,
        codings=coded,
    )

    from sparsight_cloud.batch.ray_flow import Gpus
    from sparsight_cloud.batch.session import Extras, Screens, run_batch
    from sparsight_cloud.batch.work import Wanted

    code = run_batch(
        items,
        shipped.folder.resolve(),
        order,
        store,
        Wanted(workers, address, Gpus(look_gpus, deep_gpus), max_errors, retry_errors),
        Extras(coco, samples),
        Screens(Console(stderr=True), Console(), machine=as_json),
    )
    if code:
        raise typer.Exit(code)
