"""Typed settings of the model and of a detection run; unknown keys are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from sparsight.codec.zones import HALO_MAX
from sparsight.errors import UsageError
from sparsight.slicer import SlicerSettings

LONG_SIDE_PX = (64, 16384)
"""Shortest and longest long side of the network's input."""


class CodecSettings(BaseModel):
    """What the bottleneck is made of.

    Attributes:
        channels: Channels of the latents, at stride 16.
        hidden: Channels between its convolutions.
        blocks: Residual blocks of the synthesis.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(64, ge=1, le=256)
    hidden: int = Field(48, ge=8, le=512, multiple_of=8)
    blocks: int = Field(2, ge=0, le=8)


class ModelSettings(BaseModel):
    """What a detector is made of; `model.yaml` of a bundle.

    Attributes:
        backbone: Name of a timm model with `features_only` support, or `yolox_nano` to `yolox_x`.
        neck_channels: Channels of the neck and the head.
        classes: Names of the classes, in the order of the head's outputs.
        mean: Mean of an input channel, of values in [0, 1].
        std: Deviation of an input channel.
        codec: Its bottleneck; without one it can't be run in two halves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str = "tf_efficientnet_lite0"
    neck_channels: int = Field(64, ge=8, le=512, multiple_of=8)
    classes: tuple[str, ...] = Field(min_length=1)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)
    codec: CodecSettings | None = None


@dataclass(frozen=True, slots=True)
class DetectSettings:
    """How to run a detector.

    Attributes:
        long_side_px: Length that the long side of a frame is scaled to.
        mode: `split` runs the deep part on patches, `dense` on the whole frame.
        rate: In split mode, send the patches through the codec at this rate; None leaves it out.
        sparse_head: In split mode, run the head on marked cells only.
        mark: Heat from which on a cell is marked for the sparse head; 0 marks all.
        slicer: How patches are chosen.
        halo: With a rate, fields beside the patches go through the codec, too, coarsely, where so
            many cells are marked around them (`codec.zones`); 0 leaves them out.
        score_min: Objects below this score are dropped.
        nms_iou: Of two boxes of a class that overlap more than this, the better stays.
        max_detections: Objects a frame, best first.
    """

    long_side_px: int = 1536
    mode: Literal["split", "dense"] = "split"
    rate: int | None = None
    sparse_head: bool = True
    mark: float = 0.15
    slicer: SlicerSettings = field(default_factory=SlicerSettings)
    halo: int = 0
    score_min: float = 0.005
    nms_iou: float = 0.6
    max_detections: int = 500

    def __post_init__(self) -> None:
        """Refuse what can't be run.

        Raises:
            UsageError: A value outside its range.
        """
        low, high = LONG_SIDE_PX
        if not low <= self.long_side_px <= high:
            raise UsageError(
                f"long_side_px: expected {low} to {high} pixels, got {self.long_side_px}"
            )
        if self.mode not in ("split", "dense"):
            raise UsageError(f"mode: expected split or dense, got {self.mode!r}")
        for name in ("mark", "score_min", "nms_iou"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"{name}: expected a share from 0 to 1, got {value}")
        if self.rate is not None and (self.rate < 0 or self.mode == "dense"):
            raise UsageError(f"rate: expected 0 or more, in split mode, got {self.rate}")
        if not 0 <= self.halo <= HALO_MAX:
            raise UsageError(f"halo: expected 0 to {HALO_MAX} marked cells, got {self.halo}")
        if self.max_detections < 0:
            raise UsageError(f"max_detections: expected 0 or more, got {self.max_detections}")
