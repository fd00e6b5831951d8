"""The cloud's commands, for the one command line (`sparsight.cli`).

Each command is a function of its own module in `sparsight_cloud.commands`; this is the list. Those
modules import torch and the like when they run, not when they are imported.
"""

from collections.abc import Callable

import typer

from sparsight.cli import group_of, require_extra
from sparsight_cloud.commands.bases import bases
from sparsight_cloud.commands.batch import batch_app
from sparsight_cloud.commands.bench import bench_app
from sparsight_cloud.commands.bundle import build
from sparsight_cloud.commands.cloud import cloud_app
from sparsight_cloud.commands.data import data_app
from sparsight_cloud.commands.detect import detect
from sparsight_cloud.commands.evaluate import evaluate
from sparsight_cloud.commands.finetune import finetune
from sparsight_cloud.commands.importing import import_checkpoint
from sparsight_cloud.commands.pki import pki_app
from sparsight_cloud.commands.precision import export, precisions
from sparsight_cloud.commands.train import train
from sparsight_cloud.commands.tune import tune

EXTRA = "cloud"
NEEDS = (
    "av",
    "cryptography",
    "cv2",
    "faster_coco_eval",
    "grpc",
    "fsspec",
    "grpc_health",
    "onnxruntime",
    "orjson",
    "PIL",
    "prometheus_client",
    "pyarrow",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
)
COMMANDS: dict[str, Callable[..., None]] = {
    "detect": detect,
    "eval": evaluate,
    "import": import_checkpoint,
    "train": train,
    "finetune": finetune,
    "tune": tune,
}
BUNDLE_COMMANDS: dict[str, Callable[..., None]] = {
    "bases": bases,
    "build": build,
    "export": export,
    "precisions": precisions,
}
GROUPS = {
    "batch": batch_app,
    "bench": bench_app,
    "cloud": cloud_app,
    "data": data_app,
    "pki": pki_app,
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
    bundles = group_of(app, "bundle")
    for name, command in BUNDLE_COMMANDS.items():
        bundles.command(name)(command)
    for name, group in GROUPS.items():
        app.add_typer(group, name=name)
