"""A tiny labelled set, coloured squares on noise, and a run that learns it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from sparsight_cloud.data.coco import read_coco
from sparsight_cloud.training.config import TrainConfig, load_config
from sparsight_cloud.training.loop import Moment
from sparsight_cloud.training.samples import Sampler

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
FRAME_HW = (160, 192)
SMALL = {
    "backbone": "mobilenetv2_035",
    "neck_channels": 16,
    "pretrained": "none",
    "freeze_below_stride": 1,
}


def draw_set(folder: Path, pictures: int = 6, squares: int = 4, seed: int = 0) -> Path:
    """Pictures with squares of 10 to 24 px in them, and their COCO file."""
    rng = np.random.default_rng(seed)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (folder / "images").mkdir(parents=True)
    for i in range(pictures):
        frame = rng.integers(90, 130, (*FRAME_HW, 3), np.uint8)
        for _ in range(squares):
            side = int(rng.integers(10, 25))
            x, y = (int(rng.integers(0, limit - side)) for limit in FRAME_HW[::-1])
            label = int(rng.integers(0, 2))
            frame[y : y + side, x : x + side] = list(COLOURS.values())[label]
            box = {"bbox": [x, y, side, side], "category_id": label + 1, "image_id": i + 1}
            annotations.append({"id": len(annotations) + 1, **box})
        Image.fromarray(frame).save(folder / "images" / f"{i}.png")
        size = {"width": FRAME_HW[1], "height": FRAME_HW[0]}
        images.append({"id": i + 1, "file_name": f"{i}.png", **size})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(COLOURS)]
    raw = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "squares.json").write_text(json.dumps(raw))
    return folder


def write_config(folder: Path, **changes: object) -> Path:
    """A run that learns the squares; keyword arguments replace keys of the first level."""
    raw: dict[str, object] = {
        "data": {"annotations": "squares.json", "images": "images", "format": "coco"},
        "model": SMALL,
        "crop": {"long_side_px": 192, "side_px": 128, "mosaic": 0.25},
        "patches": {"cells": [8, 12]},
        "optimiser": {"lr": 4e-3, "backbone_lr": 2e-3, "warmup_steps": 5, "ema": 0.9},
        "batch": 2,
        "processes": 1,
        "device": "cpu",
        "steps": 8,
        "out": "out",
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({**raw, **changes}))
    return file


def a_run(folder: Path, **changes: object) -> tuple[TrainConfig, Sampler]:
    """The configuration of `write_config`, read, and a sampler with all pictures decoded."""
    config = load_config(write_config(folder, **changes))
    dataset = read_coco(config.data.annotations, config.data.images)
    sampler = Sampler(dataset, config.crop, int(config.cache_gb * 1e9))
    for i in range(len(dataset.images)):
        sampler.preload(i)
    return config, sampler


class Notebook:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.begun: Moment | None = None
        self.moments: list[Moment] = []

    def begin(self, moment: Moment) -> None:
        self.begun = moment

    def step(self, moment: Moment) -> None:
        self.moments.append(moment)
