"""A training run as a YAML file.

    data: {annotations: train.json, images: images, format: coco}
    model: {backbone: tf_efficientnet_lite0}
    minutes: 120          # or steps: 12000
    out: runs/visdrone

Unknown keys are refused; paths are relative to the file. Recipes are such files that ship with
sparsight; theirs are relative to the current folder.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator

from sparsight.codec.zones import HALO_MAX
from sparsight.errors import TrainingError
from sparsight.settings import CodecSettings


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Strict):
    """Where the labelled pictures are."""

    annotations: Path
    images: Path
    format: Literal["coco", "yolo", "visdrone", "uavdt", "tinyperson"] = "coco"
    split: Literal["all", "train", "test"] = Field("all", description="part of a UAVDT set")
    allow_empty: bool = Field(False, description="pictures without labels show no objects")
    drop_bad_boxes: bool = Field(False, description="leave out boxes that no picture can have")
    title: str = Field("", description="name of the set, for the card")
    licence: str = Field("", description="licence of the set, for the card")


class NetConfig(_Strict):
    """The detector; classes come from the data."""

    backbone: str = "tf_efficientnet_lite0"
    neck_channels: int = Field(64, ge=8, le=512, multiple_of=8)
    pretrained: Literal["efficientnet-lite0", "efficientnet-lite1", "timm", "none"] | Path = Field(
        "efficientnet-lite0",
        description="ImageNet weights: of a package, of timm (downloads them), none, or a "
        "safetensors file",
    )
    start: Path | None = Field(None, description="bundle to go on from, instead of ImageNet only")
    codec: Path | None = Field(
        None, description="bundle whose codec `stage: joint` goes on from; the start's without"
    )
    teacher: Path | None = Field(
        None, description="bundle whose dense pass teaches `stage: joint`; the start's without"
    )
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    learn: Literal["all", "cloud"] = Field(
        "all",
        description="what learns: all, or trunk, neck and head only, so that the stem, the seeker "
        "and a codec trained for them stay as they are",
    )
    freeze_below_stride: int = Field(
        8, ge=1, le=8, description="units of the stem finer than this stay as pretrained"
    )


class CropConfig(_Strict):
    """How a training sample is drawn from a picture."""

    long_side_px: int = Field(
        1536, ge=64, description="long side of a frame at inference; crops vary around it"
    )
    side_px: int = Field(512, ge=64, multiple_of=32)
    scale: tuple[float, float] = (0.6, 1.4)
    on_object: float = Field(
        0.65, ge=0, le=1, description="share of crops placed round a random box"
    )
    mosaic: float = Field(
        0.25, ge=0, le=1, description="share of samples made of four smaller crops"
    )
    flip: float = Field(0.5, ge=0, le=1)
    colour: float = Field(1.0, ge=0, description="strength of the colour changes")
    compress: float = Field(
        0.0, ge=0, le=1, description="share of samples that went through JPEG or AVIF before"
    )

    @model_validator(mode="after")
    def _ordered(self) -> CropConfig:
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(f"scale: expected [low, high] with 0 < low <= high, got {self.scale}")
        return self


class PatchConfig(_Strict):
    """Training on patches as they will be cut."""

    share: float = Field(
        0.85, ge=0, le=1, description="share of samples whose deep part sees patches only"
    )
    cells: tuple[int, ...] = Field(
        (12, 16), min_length=1, description="sides of patches, multiples of four cells"
    )
    extra: float = Field(0.3, ge=0, description="patches on background for each on objects")
    by_seeker: float = Field(
        0.75,
        ge=0,
        le=1,
        description="share of the patch samples that the slicer cuts from the seeker's own heat, "
        "as it will; the others are cut from the labels",
    )
    thresholds: tuple[float, float] = Field(
        (0.4, 0.75), description="the slicer's threshold in those, drawn for each sample"
    )

    halo: int = Field(
        0,
        ge=0,
        le=HALO_MAX,
        description="of runs with a codec: marked cells in the nine fields around one beside a "
        "patch that put it into the halo; 0 for none",
    )

    @model_validator(mode="after")
    def _aligned(self) -> PatchConfig:
        if any(side < 8 or side % 4 for side in self.cells):
            raise ValueError(f"cells: expected multiples of 4 from 8 on, got {self.cells}")
        low, high = self.thresholds
        if not 0 < low <= high <= 1:
            raise ValueError(
                f"thresholds: expected [low, high] with 0 < low <= high <= 1, got {self.thresholds}"
            )
        return self


class CodecConfig(_Strict):
    """The bottleneck and its rates; of runs with `stage: bottleneck` or `joint`."""

    channels: int = Field(64, ge=1, le=256)
    hidden: int = Field(48, ge=8, le=512, multiple_of=8)
    blocks: int = Field(2, ge=0, le=8)
    lambdas: tuple[PositiveFloat, ...] = Field(
        (0.0005, 0.0012, 0.003, 0.007, 0.016),
        min_length=1,
        max_length=16,
        description="price of a bit a latent cell at each rate, the finest first",
    )
    start_bits: tuple[PositiveFloat, ...] = Field(
        (130.0, 90.0, 60.0, 40.0, 24.0), description="bits a latent cell that steps begin with"
    )

    @model_validator(mode="after")
    def _paired(self) -> CodecConfig:
        if len(self.lambdas) != len(self.start_bits):
            raise ValueError(
                f"start_bits: expected as many as lambdas ({len(self.lambdas)}), "
                f"got {len(self.start_bits)}"
            )
        return self

    def settings(self) -> CodecSettings:
        """What the bottleneck is made of."""
        return CodecSettings(channels=self.channels, hidden=self.hidden, blocks=self.blocks)


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

    stage: Literal["detector", "bottleneck", "joint"] = Field(
        "detector",
        description="what learns: the detector; its bottleneck, the detector frozen; or the "
        "bottleneck with trunk, neck and head. The last two need the bundle `model.start`",
    )
    data: DataConfig
    model: NetConfig = NetConfig()
    crop: CropConfig = CropConfig()
    patches: PatchConfig = PatchConfig()
    codec: CodecConfig = CodecConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    seeker_loss: Literal["bce", "focal_dice"] = "bce"
    batch: int = Field(4, ge=1, description="crops a step, over all processes")
    minutes: float | None = Field(
        None, gt=0, description="the schedule follows the clock and ends on time"
    )
    steps: int | None = Field(None, gt=0, description="the schedule follows the steps")
    processes: int = Field(2, ge=1, description="one thread each, on a CPU")
    slices: int | None = Field(
        None,
        ge=1,
        description="parts of a batch that are computed alone, their gradients averaged: as many "
        "as processes, or a multiple, so that each accumulates. They decide the curve of the "
        "losses; how many processes share them does not",
    )
    amp: Literal["auto", "off", "bfloat16"] = Field(
        "auto",
        description="mixed precision of `stage: detector`; auto is bfloat16 on a GPU that has it",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = Field(0, ge=0)
    checkpoint_s: float = Field(120.0, gt=0)
    cache_gb: float = Field(4.0, ge=0, description="decoded pictures kept in memory")
    out: Path = Path("runs/default")

    @model_validator(mode="after")
    def _something_to_stay(self) -> TrainConfig:
        if self.model.learn == "cloud" and self.model.start is None:
            raise ValueError(
                "model.start: expected a bundle, as with `learn: cloud` its stem and seeker stay; "
                "got none"
            )
        return self

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.minutes is None) == (self.steps is None):
            came = "neither" if self.minutes is None else "both"
            raise ValueError(f"expected either `minutes` or `steps`, got {came}")
        return self

    @model_validator(mode="after")
    def _evenly(self) -> TrainConfig:
        if self.slices is not None and self.slices % self.processes:
            raise ValueError(
                f"slices: expected a multiple of processes ({self.processes}), got {self.slices}"
            )
        name = "processes" if self.slices is None else "slices"
        parts = self.slices or self.processes
        if self.batch % parts:
            raise ValueError(f"batch: expected a multiple of {name} ({parts}), got {self.batch}")
        return self

    @model_validator(mode="after")
    def _mixed(self) -> TrainConfig:
        if self.amp == "bfloat16" and self.stage != "detector":
            raise ValueError(
                f"amp: expected auto or off with `stage: {self.stage}`, whose rates need floats of "
                "32 bits, got 'bfloat16'"
            )
        return self


def recipes() -> dict[str, Path]:
    """The configurations that ship with sparsight, by name."""
    folder = Path(str(resources.files("sparsight_cloud") / "recipes"))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def find_config(given: str) -> tuple[Path, Path]:
    """A configuration by file or by name of a recipe.

    Args:
        given: What the person gave.

    Returns:
        The file, and the folder that its paths are relative to.

    Raises:
        TrainingError: Neither.
    """
    file = Path(given)
    if file.exists() or file.suffix:
        return file, file.resolve().parent
    known = recipes()
    if given not in known:
        raise TrainingError(
            f"{given}: expected a YAML file or one of the recipes {', '.join(known)}"
        )
    return known[given], Path.cwd()


def load_config(
    path: Path, *, base: Path | None = None, changes: Mapping[str, object] | None = None
) -> TrainConfig:
    """Read a training configuration.

    Args:
        path: The YAML file.
        base: Folder that its paths are relative to; the file's without.
        changes: Values that replace the file's, by key, with dots below the first level. One of
            `minutes` and `steps` takes the other out.

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
            f"{path}: expected a mapping with `data` and `minutes` or `steps`, "
            f"got {type(raw).__name__}"
        )
    changes = changes or {}
    lengths = {"minutes", "steps"}
    if lengths & changes.keys():
        raw = {k: v for k, v in raw.items() if k not in lengths}
    config = make_config(_changed(raw, changes), str(path))
    here = base or path.resolve().parent
    data, net = config.data, config.model
    placed = {"annotations": here / data.annotations, "images": here / data.images}
    for key in ("pretrained", "start", "codec", "teacher"):
        if isinstance(getattr(net, key), Path):
            net = net.model_copy(update={key: here / getattr(net, key)})
    return config.model_copy(
        update={"data": data.model_copy(update=placed), "model": net, "out": here / config.out}
    )


def make_config(raw: Mapping[str, object], where: str) -> TrainConfig:
    """A configuration from its values.

    Args:
        raw: The values, by key.
        where: What an error begins with.

    Raises:
        TrainingError: An unknown key or a value out of range; names it.
    """
    try:
        return TrainConfig.model_validate(raw)
    except ValidationError as e:
        told = "; ".join(_explain(dict(problem)) for problem in e.errors())
        raise TrainingError(f"{where}: {told}") from e


def _changed(raw: dict[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
    """A mapping with values set at keys with dots; what is no mapping on the way is replaced."""
    out = dict(raw)
    for key, value in changes.items():
        first, _, rest = key.partition(".")
        below = out.get(first)
        inner = below if isinstance(below, dict) else {}
        out[first] = _changed(inner, {rest: value}) if rest else value
    return out


def write_config(config: TrainConfig, path: Path, heading: str = "") -> None:
    """Write a configuration that `load_config` reads.

    Args:
        config: What is written, without the values that are so anyway.
        path: The file.
        heading: A comment at its top; one line.
    """
    raw = config.model_dump(mode="json", exclude_defaults=True)
    comment = f"# {heading}\n" if heading else ""
    path.write_text(comment + yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")


def _explain(problem: dict[str, Any]) -> str:
    loc = [str(part) for part in problem["loc"]]
    key = ".".join(loc)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(loc[-1], _keys(loc[:-1]), 1)
        hint = f", did you mean {near[0]}" if near else f"; there are {', '.join(_keys(loc[:-1]))}"
        return f"{key}: no such key{hint}"
    if problem["type"] == "missing":
        return f"{key}: expected a value, it is missing"
    text = str(problem["msg"]).removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    if problem["type"] == "value_error":  # ours: says what came
        return f"{key}.{text}" if key else text
    return f"{key}: {text.replace('input should', 'should')}, got {problem['input']!r}"


def _keys(loc: list[str]) -> list[str]:
    model: type[BaseModel] = TrainConfig
    for part in loc:
        annotation = model.model_fields[part].annotation
        if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
            return []
        model = annotation
    return list(model.model_fields)
