"""`sparsight finetune`: the default bundle on one's own pictures, and a page about it."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from sparsight.errors import UsageError
from sparsight_cloud.commands.train import INTERRUPTED, train_here, train_on_ray
from sparsight_cloud.data.choices import Format

if TYPE_CHECKING:
    from sparsight_cloud.commands.shipping import Judged
    from sparsight_cloud.data.dataset import Dataset
    from sparsight_cloud.training.config import TrainConfig

PAGE = "report.html"


def finetune(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="The labels: a COCO file, or data.yaml or the folder of a YOLO set.",
            show_default=False,
        ),
    ],
    images: Annotated[
        Path, typer.Option("--images", help="Folder of the pictures.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for bundle and page.", show_default=False)],
    from_: Annotated[
        Format | None, typer.Option("--from", help="Format of DATA, where its name doesn't say.")
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option(help="Judge on these labels, of the same format, instead of a tenth of DATA."),
    ] = None,
    val_images: Annotated[
        Path | None, typer.Option(help="Folder of their pictures, if it is another.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle to go on from; the default one without.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Time for training.")] = 60.0,
    steps: Annotated[
        int | None, typer.Option(min=2, help="Train so many steps, instead of by the clock.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Crops a step.")] = 4,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Train on Ray with so many workers.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Ray cluster for the workers.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Folder for the workers' checkpoints, as of `train`."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, no progress.")
    ] = False,
) -> None:
    """Fine-tune the default bundle on your own pictures; leaves a bundle and a page in OUT.

    Classes with the name of one that the bundle knows begin as that one. A tenth of the pictures is
    held out and judged on; films, whose frames are alike, want --val. Started again, it goes on.

    Examples:
        sparsight finetune labels.json --images pictures --out farm

        sparsight finetune farm/data.yaml --images farm/images/train --out tuned
            --val farm/val.yaml --val-images farm/images/val --minutes 120
    """
    from sparsight.bundle import default_bundle, open_bundle

    if workers is None and (address, storage) != (None, None):
        raise UsageError("--address and --storage are for --workers; give it, too")
    if val is None and val_images is not None:
        raise UsageError("--val-images is for --val; give it, too")
    console = Console(stderr=True, quiet=as_json)

    from sparsight_cloud.commands.shipping import Judged, require_objects, ship
    from sparsight_cloud.training.finetune import VAL, Wish, apart, held_out, plan, write_sets
    from sparsight_cloud.training.run import make_folder

    out, images = out.resolve(), images.resolve()
    whole = _read(data, images, from_, console)
    if val is None:
        train, judged = held_out(whole, 0.1)
    else:
        judged = _read(val, (val_images or images).resolve(), from_, console)
        require_objects(whole.classes, Judged(str(val), judged))
        train = apart(whole, judged)
        if both := len(whole.images) - len(train.images):
            console.print(f"note: {both} pictures of --val are in DATA, too: not trained on")
    make_folder(out)
    write_sets(out, train, judged)
    wish = Wish(None if steps else minutes, steps, batch, workers or _processes(batch), device)
    console.print(
        f"{len(train.images)} pictures with {train.boxes} objects to train on, "
        f"{len(judged.images)} with {judged.boxes} to judge on",
    )
    start = (bundle or default_bundle()).resolve()
    runs = plan(out, images, start, wish)
    detect = replace(open_bundle(start).manifest.detect_settings(), rate=None, halo=0)
    for number, config in enumerate(runs, 1):
        console.print(f"run {number} of {len(runs)}: {config.stage}")
        place = None if storage is None else f"{storage.rstrip('/')}/{config.stage}"
        try:
            if workers is None:
                outcome = train_here(config, train, console)
            else:
                outcome = train_on_ray(config, train, console, address, place)
        except KeyboardInterrupt:
            console.print("stopped at once; the last checkpoint stays")
            raise typer.Exit(INTERRUPTED) from None
        if not outcome.finished:
            console.print("stopped, saved; to go on, give the same command again")
            raise typer.Exit(INTERRUPTED)
        last = config.out == out
        ship(config, train, outcome, Judged(VAL, judged) if last else None, console, detect)
    told = _tell(runs, Judged(VAL, judged), console)
    if as_json:
        json.dump(told, sys.stdout, indent=2)
        sys.stdout.write("\n")
    console.print(f"bundle in {out / 'bundle'}, page in {out / PAGE}", soft_wrap=True)


def _read(data: Path, images: Path, from_: Format | None, console: Console) -> "Dataset":
    from sparsight_cloud.data.formats import scan_dataset
    from sparsight_cloud.data.reading import Reading

    guessed = Format.COCO if data.suffix.lower() == ".json" else Format.YOLO
    reading = Reading(allow_empty=True, drop_bad_boxes=True)
    dataset = scan_dataset(data, images, from_ or guessed, reading)
    reading.refuse(data)
    empty = sum(not len(image.labels) for image in dataset.images)
    if empty:
        reading.note(f"{data}: {empty} of {len(dataset.images)} pictures have no objects")
    for note in reading.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    return dataset


def _processes(batch: int) -> int:
    """One for each processor that the batch can be shared out to, two at most."""
    from sparsight_cloud.evaluation.report import usable_cores

    return 2 if batch % 2 == 0 and usable_cores() > 1 else 1


def _tell(runs: "tuple[TrainConfig, ...]", judged: "Judged", console: Console) -> dict[str, Any]:
    """Judge the bundle once more, as it ships, and write the page."""
    from sparsight.model.detector import Detector
    from sparsight_cloud.evaluation.classes import match_classes
    from sparsight_cloud.evaluation.run import run_evaluation
    from sparsight_cloud.page.html import Story, page
    from sparsight_cloud.training.loop import METRICS
    from sparsight_cloud.training.metrics import read_metrics

    out = runs[-1].out
    detector = Detector.from_bundle(out / "bundle")
    match = match_classes(detector.classes, judged.dataset.classes)
    settings, way = detector.settings, "seeker and patches as on a device"
    manifest = detector.manifest
    if manifest is not None and manifest.rates:
        settings = replace(settings, rate=manifest.default_rate)
        way = f"seeker, patches and codec as on a device, at its rate {settings.rate}"
    evaluation = run_evaluation(detector, judged.dataset, match, settings, console)
    # Without pictures that can't be read.
    seen = replace(
        match.dataset(judged.dataset), images=tuple(frame.image for frame in evaluation.frames)
    )
    reports = json.loads((out / "report.json").read_text(encoding="utf-8"))
    about = f"{seen.boxes} objects in {len(seen.images)} pictures that were not trained on; {way}"
    story = Story(
        title=out.name,
        about=about,
        losses={config.stage: read_metrics(config.out / METRICS) for config in runs},
        dataset=seen,
        evaluation=evaluation,
        rates=reports if runs[-1].stage != "detector" else {"none": reports},
    )
    (out / PAGE).write_text(page(story), encoding="utf-8", errors="replace")
    return {
        "bundle": str(out / "bundle"),
        "page": str(out / PAGE),
        "rate": settings.rate,
        "ap": evaluation.ap.ap,
        "ap50": evaluation.ap.ap50,
        "coverage": asdict(evaluation.coverage),
        "payload_bytes_per_frame": evaluation.payload_bytes,
    }
