"""The cloud's commands, for the one command line (`sparsight.cli`).

Each command is a function of its own module in `sparsight_cloud.commands`; this is the list. Those
modules import torch and the like when they run, not when they are imported.
"""

from collections.abc import Callable

import typer

from sparsight.cli import require_extra
from sparsight_cloud.commands.data import data_app
from sparsight_cloud.commands.detect import detect
from sparsight_cloud.commands.evaluate import evaluate
from sparsight_cloud.commands.train import train

EXTRA = "cloud"
NEEDS = ("cv2", "faster_coco_eval", "PIL", "safetensors", "timm", "torch", "torchvision")
COMMANDS: dict[str, Callable[..., None]] = {
    "detect": detect,
    "eval": evaluate,
    "train": train,
}
GROUPS = {
    "data": data_app,
}


def register(app: typer.Typer) -> None:
    """Add the cloud's commands.

    Args:
        app: The app of the whole command line.

    Raises:
        ExtraMissing: The packages of the extra `cloud` are not installed.
    """
    require_extra(EXTRA, NEEDS, [*COMMANDS, *GROUPS])
    for name, command in COMMANDS.items():
        app.command(name)(command)
    for name, group in GROUPS.items():
        app.add_typer(group, name=name)
