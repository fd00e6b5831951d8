"""`sparsight import`: a checkpoint of another detector as a bundle to fine-tune."""

from pathlib import Path
from typing import Annotated

import typer

from sparsight.errors import UsageError


def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of Megvii's YOLOX: nano, tiny, s, m, l or x.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the bundle; empty or not there.")],
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Names of the classes; as many as the checkpoint has, by number, without.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name; that of the file without.")] = None,
) -> None:
    """Turn a YOLOX checkpoint into a bundle to fine-tune.

    Its backbone is carried over with the same numbers: what is before stride 8 becomes the stem on
    the device, the rest the trunk in the cloud. Seeker, neck and head are of another make and start
    untrained, so train before use. Only tensors are read of the file. Checkpoints of before
    YOLOX 0.1.1, trained on normalised RGB, look the same and don't fit.

    Examples:
        sparsight import yolox_s.pth --out bundles/yolox-s

        sparsight import best_ckpt.pth --out bundles/mine --classes car,van,bus
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is there already; name a new folder, or empty this one")
    names = None if classes is None else tuple(one.strip() for one in classes.split(","))
    if names is not None and (not all(names) or len(set(names)) < len(names)):
        raise UsageError(
            f"--classes: expected different names with commas between, got {classes!r}"
        )
    from sparsight_cloud.bases.yolox import import_yolox, read_yolox, recipe_of

    read = read_yolox(checkpoint)
    chosen = names or tuple(f"class {i}" for i in range(max(1, read.classes)))
    title = (name or checkpoint.stem)[:100]
    manifest = import_yolox(read, checkpoint, out, classes=chosen, name=title)
    typer.echo(
        f"{out}: bundle {manifest.id[:12]}, {read.backbone}: its backbone of {len(read.state)} "
        f"tensors; {read.left} of neck and head are left, ours start untrained.\n"
        f"To fine-tune it, in your training configuration:\n\n"
        f"{recipe_of(read.backbone, str(out.resolve()))}"
    )
