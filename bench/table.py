"""`make bench`: the same weights dense, as patches and through SAHI, on the same frames in one run.

    labelled      dense | patches, dense head | patches, sparse head | SAHI   AP, cost, time, memory
    native size   dense | patches                                             cost, time, memory
    transformer   dense | patches on 8 % and 25 % of the cells                time, memory

Prints tables and writes one JSON file with date, CPU, threads, versions and commit. Run it from
the root of the checkout: `python -m bench.table --help`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sparsight.errors import DataError, SparsightError

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
VISDRONE = SHARED / "visdrone" / "val.json"
BRIGHTON = SHARED / "brighton"
MUNICH = ROOT / "samples" / "munich" / "annotations.json"
PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    data: Annotated[
        Path | None,
        typer.Option(help="Annotations, a COCO file. Without: VisDrone if there, else Munich."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Their pictures; without: images/ beside the annotations.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; the default one without.")
    ] = None,
    native: Annotated[
        Path, typer.Option(help="Folder of pictures that are run at their native size.")
    ] = BRIGHTON,
    long_side: Annotated[
        int, typer.Option(min=64, max=16384, help="Long side of the native size, in pixels.")
    ] = 4000,
    transformer: Annotated[
        Path | None, typer.Option(help="Bundle with a transformer; untrained weights without.")
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="The untrained transformer, a name of timm's.")
    ] = "swin_tiny_patch4_window7_224",
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many frames of each part.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the JSON.")] = ROOT / "bench" / "results",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; without: all cores of this process.")
    ] = None,
    memory_frames: Annotated[
        int, typer.Option(min=1, help="Labelled frames of a line whose memory is measured.")
    ] = 3,
    sahi_native: Annotated[
        bool, typer.Option("--sahi-native", help="Also SAHI with pixels as they are.")
    ] = False,
    skip_sahi: Annotated[bool, typer.Option("--skip-sahi", help="Leave SAHI out.")] = False,
    skip_labelled: Annotated[bool, typer.Option("--skip-labelled")] = False,
    skip_native: Annotated[bool, typer.Option("--skip-native")] = False,
    skip_transformer: Annotated[bool, typer.Option("--skip-transformer")] = False,
) -> None:
    """Hold dense, patches and SAHI against each other."""
    count = threads or _cores()
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(count)  # read when torch and numba are loaded, here and in children

    import torch  # noqa: PLC0415
    from bench import parts  # noqa: PLC0415
    from bench.show import show  # noqa: PLC0415
    from bench.summary import rounded  # noqa: PLC0415

    from sparsight.bundle import default_bundle, open_bundle  # noqa: PLC0415
    from sparsight_cloud.data.coco import read_coco  # noqa: PLC0415
    from sparsight_cloud.evaluation.report import (  # noqa: PLC0415
        require_writable,
        run_stamp,
        write_report,
    )

    torch.set_num_threads(count)
    console, shown = Console(stderr=True), Console()
    started = datetime.now(timezone.utc)
    file = out / f"{started:%Y-%m-%dT%H%M%S}.json"
    require_writable(file)
    report: dict[str, Any] = {"limit": limit, **run_stamp()}
    report["versions"] |= _version("sahi")
    rig = None
    if not (skip_labelled and skip_native):
        shipped = open_bundle(bundle or default_bundle())
        report["bundle"] = {"name": shipped.manifest.name, "id": shipped.manifest.id}
        rig = parts.Rig(shipped.folder.resolve(), count, memory_frames, min(3, limit or 3), console)

    def keep(name: str, part: dict[str, Any]) -> None:
        report[name] = rounded(part)
        report["seconds"] = round((datetime.now(timezone.utc) - started).total_seconds())
        write_report(report, file)
        show({name: report[name]}, shown)

    if rig and not skip_labelled:
        annotations, folder = _labelled(data, images, console)
        dataset = read_coco(annotations, folder)
        dataset = replace(dataset, images=dataset.images[:limit])
        ways = ["dense", "patches", "sparse"]
        ways += [] if skip_sahi else ["sahi", "sahi_native"] if sahi_native else ["sahi"]
        name = f"{annotations.parent.name}/{annotations.name}"
        keep("labelled", parts.labelled(rig, dataset, ways, name))
    if rig and not skip_native:
        pictures = _pictures(native, limit, console)
        if pictures:
            keep("native", parts.native(rig, pictures, long_side))
    if not skip_transformer:
        rig = rig or parts.Rig(Path(), count, memory_frames, min(3, limit or 3), console)
        own = transformer.resolve() if transformer else None
        with tempfile.TemporaryDirectory() as folder_name:
            keep("transformer", parts.transformer(rig, backbone, own, Path(folder_name)))
    shown.print(f"written: {file}", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Run, and end with one line where something is a user's to fix."""
    try:
        app(prog_name="python -m bench.table")
    except SparsightError as error:
        typer.echo(f"bench: {' '.join(str(error).splitlines())}", err=True)
        sys.exit(error.exit_code)


def _labelled(data: Path | None, images: Path | None, console: Console) -> tuple[Path, Path]:
    if data is None and not VISDRONE.exists():
        console.print(
            "no VisDrone here (its licence forbids shipping it): the Munich frames instead"
        )
        return MUNICH, MUNICH.parent
    chosen = data or VISDRONE
    beside = chosen.parent / "images"
    return chosen, images or (beside if beside.is_dir() else chosen.parent)


def _pictures(folder: Path, limit: int | None, console: Console) -> list[Path]:
    if not folder.is_dir():
        if folder == BRIGHTON:
            console.print("no large pictures here: the part at native size is left out")
            return []
        raise DataError(f"{folder}: expected a folder of pictures; name another by --native")
    found = sorted(p.resolve() for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if not found:
        raise DataError(f"{folder}: holds no picture ({', '.join(sorted(PICTURES))})")
    return found[:limit]


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _version(distribution: str) -> dict[str, str]:
    try:
        return {distribution: metadata.version(distribution)}
    except metadata.PackageNotFoundError:
        return {}


if __name__ == "__main__":
    main()
