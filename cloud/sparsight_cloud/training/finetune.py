"""Fine-tuning a bundle: which pictures are held out, and the runs that follow each other.

    pictures ─ a tenth held out ─> train.json, val.json
    bundle ─ run 1: the whole detector ─> detector ─ run 2: deep part and codec ─> bundle

The second run is for bundles with a codec: run 1 leaves a detector that the codec does not fit any
more. Both are plain configurations, which are written down, so that `sparsight train` can do more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sparsight.errors import DataError
from sparsight.model.detector import Detector
from sparsight_cloud.data.coco import write_coco
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.training.config import TrainConfig, make_config, write_config

TRAIN, VAL = "train.json", "val.json"
FIRST_SHARE = 0.6
"""Share of the time that the first run gets, where there are two."""

PRICES = (0.0004, 0.022)
"""Of a bit at the finest rate and at the coarsest; those of the default bundle."""

_LITE0 = "tf_efficientnet_lite0"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for.

    Attributes:
        minutes: For all runs together; None if `steps` are given.
        steps: Likewise.
        batch: Crops a step.
        processes: Or workers.
        device: Where to compute.
    """

    minutes: float | None
    steps: int | None
    batch: int
    processes: int
    device: str

    def part(self, share: float) -> dict[str, float | int]:
        """The length of a run with a share of all."""
        if self.steps is not None:
            return {"steps": max(1, round(self.steps * share))}
        return {"minutes": share * (self.minutes or 0.0)}


def held_out(dataset: Dataset, share: float) -> tuple[Dataset, Dataset]:
    """Split a set by names of pictures, the same way every time.

    Args:
        dataset: What is split.
        share: Of its pictures that are not trained on, in (0, 1).

    Returns:
        What is trained on, and what is judged on; both have boxes.

    Raises:
        DataError: There are too few pictures with boxes.
    """
    order = sorted(dataset.images, key=lambda i: _hash(i.file_name))
    count = max(1, round(share * len(order)))
    names = {image.file_name for image in order[:count]}
    train, val = (
        replace(dataset, images=tuple(i for i in dataset.images if (i.file_name in names) is out))
        for out in (False, True)
    )
    if not train.boxes or not val.boxes:
        raise DataError(
            f"{len(dataset.images)} pictures with {dataset.boxes} boxes are too few to hold some "
            "out; name others by --val"
        )
    return train, val


def _hash(name: str) -> bytes:
    # A file's name need not be Unicode; Python has its other bytes as surrogates.
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def apart(dataset: Dataset, judged: Dataset) -> Dataset:
    """A set without the pictures of another, so that none is trained and judged on.

    Args:
        dataset: What is trained on.
        judged: What is judged on.

    Raises:
        DataError: No boxes are left.
    """
    held = {image.path.resolve() for image in judged.images}
    left = tuple(image for image in dataset.images if image.path.resolve() not in held)
    train = replace(dataset, images=left)
    if not train.boxes:
        raise DataError(
            f"expected boxes to train on outside the pictures to judge on, got none of "
            f"{dataset.boxes}; name other pictures"
        )
    return train


def write_sets(out: Path, train: Dataset, val: Dataset) -> None:
    """Write both sets as COCO files into the folder."""
    write_coco(train, out / TRAIN)
    write_coco(val, out / VAL)


def plan(out: Path, images: Path, bundle: Path, wish: Wish) -> tuple[TrainConfig, ...]:
    """The runs, the last of which works in `out` itself; each is written there as a YAML file.

    Args:
        out: The folder, with what `write_sets` left.
        images: Folder of the pictures.
        bundle: What is tuned.
        wish: How long, and on what.

    Raises:
        BundleError: The bundle is missing or damaged.
        TrainingError: There is no such run.
    """
    given = Detector.from_bundle(bundle)
    assert given.manifest is not None
    model, detect = given.network.settings, given.settings
    side = detect.slicer.patch_hw[0]
    net = {
        "backbone": model.backbone,
        "neck_channels": model.neck_channels,
        "mean": list(model.mean),
        "std": list(model.std),
        "pretrained": "efficientnet-lite0" if model.backbone == _LITE0 else "none",
    }
    common = {
        "data": {"annotations": str(out / TRAIN), "images": str(images), "allow_empty": True},
        "batch": wish.batch,
        "processes": wish.processes,
        "device": wish.device,
    }
    rates = len(given.manifest.rates)
    first: dict[str, Any] = {
        **common,
        "model": {**net, "start": str(bundle)},
        "crop": {"long_side_px": detect.long_side_px},
        "patches": {"cells": [side], "by_seeker": 0.9, "thresholds": [0.4, 0.7]},
        "optimiser": {"lr": 6e-4, "backbone_lr": 2.5e-4, "flat_share": 0.25},
        **wish.part(FIRST_SHARE if rates else 1.0),
        "out": str(out / "detector" if rates else out),
    }
    runs = {"detector": first}
    if rates:
        runs["codec"] = {
            **common,
            "stage": "joint",
            "model": {
                **net,
                "start": str(out / "detector" / "bundle"),
                "codec": str(bundle),
                "learn": "cloud",
            },
            "crop": {"long_side_px": detect.long_side_px, "mosaic": 0.15},
            "patches": {
                "cells": [side],
                "share": 1.0,
                "by_seeker": 1.0,
                "thresholds": [0.45, 0.65],
                "halo": detect.halo,
            },
            "codec": {
                "lambdas": np.geomspace(*PRICES, rates).round(6).tolist(),
                "start_bits": [1.0] * rates,  # of runs that begin without steps
            },
            "optimiser": {"lr": 5e-4, "backbone_lr": 2e-4, "flat_share": 0.25},
            **wish.part(1 - FIRST_SHARE),
            "out": str(out),
        }
    configs = {name: make_config(raw, f"{name}.yaml") for name, raw in runs.items()}
    for name, config in configs.items():
        write_config(config, out / f"{name}.yaml")
    return tuple(configs.values())
