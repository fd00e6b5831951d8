"""`sparsight train`: from a configuration to a bundle."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.progress import track

from sparsight.errors import UsageError

if TYPE_CHECKING:
    from sparsight_cloud.data.dataset import Dataset
    from sparsight_cloud.training.config import TrainConfig
    from sparsight_cloud.training.loop import Outcome
    from sparsight_cloud.training.samples import Sampler

INTERRUPTED = 130
"""Exit code of a run that was asked to stop, as shells have it."""

T = TypeVar("T")


def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="The run as a YAML file, or the name of a recipe: visdrone, uavdt, tinyperson.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run, instead of the configuration's.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train so long, instead of as configured.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Train so many steps, instead of as configured.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where to compute.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Train on Ray with so many workers, instead of here."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Ray cluster for the workers (auto: the one on this machine); starts a small one "
            "here without.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Folder for the workers' checkpoints that every machine reaches, such as "
            "s3://bucket/run; OUT/checkpoints without.",
        ),
    ] = None,
    eval_data: Annotated[
        Path | None, typer.Option(help="Judge the bundle on these annotations, a COCO file.")
    ] = None,
    eval_images: Annotated[Path | None, typer.Option(help="Folder of their pictures.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, no progress.")
    ] = False,
) -> None:
    """Train a detector; leaves a bundle in OUT/bundle.

    Started again, a run goes on from its last checkpoint. Ctrl-C saves one first (exit code 130).

    Paths in CONFIG are relative to that file; those of a recipe, to the current folder.

    Examples:
        sparsight train visdrone

        sparsight train my.yaml --minutes 30 --eval-data val.json --eval-images pictures

        sparsight train my.yaml --workers 2

        sparsight train my.yaml --workers 8 --address head:6379 --storage s3://bucket/my-run
    """
    # What can be wrong with the arguments comes out first, before torch is loaded.
    from sparsight_cloud.commands.shipping import Judged, require_objects, ship
    from sparsight_cloud.data.coco import read_coco
    from sparsight_cloud.training.config import find_config, load_config

    if minutes is not None and steps is not None:
        raise UsageError("expected one of --minutes and --steps, got both; leave one out")
    if (eval_data is None) != (eval_images is None):
        raise UsageError("--eval-data and --eval-images go together; give both or none")
    if workers is None and (address, storage) != (None, None):
        raise UsageError("--address and --storage are for --workers; give it, too")
    file, base = find_config(config)
    given = {"minutes": minutes, "steps": steps, "device": device, "processes": workers}
    changes: dict[str, object] = {k: v for k, v in given.items() if v is not None}
    if out is not None:
        changes["out"] = out.resolve()
    settings = load_config(file, base=base, changes=changes)
    console = Console(stderr=True, quiet=as_json)
    dataset = read_data(settings, console)
    judged = None
    if eval_data is not None and eval_images is not None:
        judged = Judged(eval_data.name, read_coco(eval_data, eval_images))
        require_objects(dataset.classes, judged)

    try:
        if workers is None:
            outcome = train_here(settings, dataset, console)
        else:
            outcome = train_on_ray(settings, dataset, console, address, storage)
    except KeyboardInterrupt:  # while decoding, or the second one
        console.print("stopped at once; the last checkpoint stays")
        raise typer.Exit(INTERRUPTED) from None
    told: dict[str, Any] = {
        "steps": outcome.steps,
        "elapsed_s": round(outcome.elapsed_s, 1),
        "finished": outcome.finished,
        "out": str(settings.out),
    }
    if not outcome.finished:
        flags = {"out": out, "workers": workers, "address": address, "storage": storage}
        again = " ".join(
            [f"sparsight train {config}", *(f"--{k} {v}" for k, v in flags.items() if v)]
        )
        console.print(
            f"stopped after step {outcome.steps}, saved; to go on: {again}", soft_wrap=True
        )
        _end(told, as_json)
        raise typer.Exit(INTERRUPTED)
    manifest, report = ship(settings, dataset, outcome, judged, console)
    _end(
        {**told, "bundle": str(settings.out / "bundle"), "id": manifest.id, "report": report},
        as_json,
    )
    size_mb = (settings.out / "bundle" / "cloud.safetensors").stat().st_size / 1e6
    console.print(
        f"{outcome.steps} steps; bundle {manifest.id[:12]} ({size_mb:.1f} MB) in "
        f"{settings.out / 'bundle'}",
        soft_wrap=True,
        highlight=False,
    )


def read_data(settings: "TrainConfig", console: Console) -> "Dataset":
    """The data of a run, with a bar while it is read."""
    from sparsight_cloud.data.choices import Split
    from sparsight_cloud.data.formats import scan_dataset
    from sparsight_cloud.data.reading import Reading

    def bar(items: Sequence[T], what: str, /) -> Iterable[T]:
        return _track(items, f"reading {what}", console)

    data = settings.data
    reading = Reading(
        allow_empty=data.allow_empty,
        drop_bad_boxes=data.drop_bad_boxes,
        split=Split(data.split),
        track=bar,
    )
    dataset = scan_dataset(data.annotations, data.images, data.format, reading)
    reading.refuse(data.annotations)
    for note in reading.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    return dataset


def _track(items: Sequence[T], what: str, console: Console) -> Iterable[T]:
    shown = console.is_terminal and not console.quiet
    return track(items, what, console=console, transient=True, disable=not shown)


def _decode(sampler: "Sampler", console: Console) -> None:
    count = len(sampler.dataset.images)
    for i in _track(range(count), "decoding pictures", console):
        if not sampler.preload(i):
            console.print(
                f"{i} of {count} pictures decoded fill `cache_gb`; the others are decoded when "
                "drawn, which is slower",
            )
            return


def train_here(settings: "TrainConfig", dataset: "Dataset", console: Console) -> "Outcome":
    """Train in this process and those that it forks, with a board."""
    from sparsight_cloud.training.board import Board
    from sparsight_cloud.training.run import run_training
    from sparsight_cloud.training.samples import Sampler

    sampler = Sampler(dataset, settings.crop, int(settings.cache_gb * 1e9))
    _decode(sampler, console)
    with Board(console, settings.optimiser.lr) as board:
        return run_training(settings, sampler, board)


def train_on_ray(
    settings: "TrainConfig",
    dataset: "Dataset",
    console: Console,
    address: str | None,
    storage: str | None,
) -> "Outcome":
    """Train with workers on Ray, with a board."""
    from sparsight_cloud.training.board import Board
    from sparsight_cloud.training.ray_run import run_on_ray

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    say(f"starting {settings.processes} workers on Ray")
    with Board(console, settings.optimiser.lr) as board:
        return run_on_ray(settings, dataset, board, say, address=address, storage=storage)


def _end(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        json.dump(told, sys.stdout, indent=2)
        sys.stdout.write("\n")
