"""A training run as a YAML file.

    data: {annotations: train.json, images: images, format: coco}
    model: {backbone: tf_efficientnet_lite0}
    minutes: 120          # or steps: 12000
    out: runs/visdrone

Unknown keys are refused; paths are relative to the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparsight.errors import TrainingError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Strict):
    """Where the labelled pictures are."""

    annotations: Path
    images: Path
    format: Literal["coco", "yolo", "visdrone", "uavdt", "tinyperson"] = "coco"


class NetConfig(_Strict):
    """The detector; classes come from the data."""

    backbone: str = "tf_efficientnet_lite0"
    neck_channels: int = Field(64, ge=8, le=512, multiple_of=8)
    pretrained: Literal["efficientnet-lite0", "none"] | Path = "efficientnet-lite0"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    freeze_below_stride: int = Field(
        8, description="units of the stem finer than this stay as pretrained"
    )


class CropConfig(_Strict):
    """How a training sample is drawn from a picture."""

    long_side_px: int = Field(
        1536, ge=64, description="long side of a frame at inference; crops vary around it"
    )
    side_px: int = Field(512, ge=64, multiple_of=32)
    scale: tuple[float, float] = (0.6, 1.4)
    on_object: float = Field(
        0.8, ge=0, le=1, description="share of crops placed round a random box"
    )
    mosaic: float = Field(
        0.25, ge=0, le=1, description="share of samples made of four smaller crops"
    )
    flip: float = Field(0.5, ge=0, le=1)
    colour: float = Field(1.0, ge=0, description="strength of the colour changes")


class PatchConfig(_Strict):
    """Training on patches as they will be cut."""

    share: float = Field(
        0.7, ge=0, le=1, description="share of samples whose deep part sees patches only"
    )
    cells: tuple[int, ...] = Field(
        (12, 16), min_length=1, description="sides of patches, multiples of four cells"
    )
    extra: float = Field(0.3, ge=0, description="patches on background for each on objects")


class OptimiserConfig(_Strict):
    """AdamW and its schedule: warm-up, flat, cosine."""

    lr: float = Field(1e-3, gt=0)
    backbone_lr: float = Field(3e-4, gt=0)
    weight_decay: float = Field(0.03, ge=0)
    clip_norm: float = Field(10.0, gt=0)
    warmup_steps: int = Field(60, ge=0)
    flat_share: float = Field(
        0.35, ge=0, le=1, description="share of the run before the cosine begins"
    )
    final_share: float = Field(0.02, ge=0, le=1)
    ema: float = Field(0.9985, ge=0, lt=1)


class TrainConfig(_Strict):
    """A training run."""

    data: DataConfig
    model: NetConfig = NetConfig()
    crop: CropConfig = CropConfig()
    patches: PatchConfig = PatchConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    seeker_loss: Literal["bce", "focal_dice"] = "bce"
    batch: int = Field(4, ge=1, description="crops a step, over all processes")
    minutes: float | None = Field(
        None, gt=0, description="the schedule follows the clock and ends on time"
    )
    steps: int | None = Field(None, gt=0, description="the schedule follows the steps")
    processes: int = Field(2, ge=1, description="one thread each, on a CPU")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    checkpoint_s: float = Field(120.0, gt=0)
    cache_gb: float = Field(4.0, ge=0, description="decoded pictures kept in memory")
    out: Path = Path("runs/default")

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if any(side < 8 or side % 4 for side in self.patches.cells):
            raise ValueError(
                f"patches.cells: expected multiples of 4 from 8 on, got {self.patches.cells}"
            )
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give either `minutes` or `steps`")
        if self.batch % self.processes:
            raise ValueError(
                f"batch ({self.batch}) must be a multiple of processes ({self.processes})"
            )
        return self


def load_config(path: Path) -> TrainConfig:
    """Read a training configuration.

    Raises:
        TrainingError: No such file, no YAML, an unknown key or a value out of range; names it.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise TrainingError(f"{path}: can't read the configuration ({e})") from e
    except yaml.YAMLError as e:
        raise TrainingError(f"{path}: no valid YAML ({' '.join(str(e).split())})") from e
    if not isinstance(raw, dict):
        raise TrainingError(
            f"{path}: expected a mapping with `data` and `minutes` or `steps`, got {type(raw).__name__}"
        )
    try:
        config = TrainConfig.model_validate(raw)
    except ValidationError as e:
        lines = "; ".join(
            f"{'.'.join(map(str, x['loc'])) or 'the file'}: {x['msg']}" for x in e.errors()
        )
        raise TrainingError(f"{path}: {lines}") from e
    here = path.resolve().parent
    data = config.data.model_copy(
        update={"annotations": here / config.data.annotations, "images": here / config.data.images}
    )
    return config.model_copy(update={"data": data, "out": here / config.out})
