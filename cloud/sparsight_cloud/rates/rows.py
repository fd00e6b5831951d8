"""What is compared: curves of rows, each row one way of sending a frame at one quality.

family   curves                                     judged by
whole    jpeg webp avif h265                        dense and split, the better counts
crops    crops_{jpeg,webp,avif}_halo{0,32}          split, on those very patches
roi      roi_patches roi_heat                       dense and split
raw      raw_fp16 raw_int8                          split
ours     ours ours_whole                            split
video    h264_video h265_video                      dense and split
tuned    jpeg, avif, h265 and roi once more, by a detector that learned from coded pictures
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from sparsight.errors import UsageError

Family: TypeAlias = Literal["whole", "crops", "roi", "raw", "ours", "video"]

PARTS = ("whole", "crops", "roi", "raw", "ours", "tuned", "video")
"""What a run can be limited to."""

WHOLE = {
    "jpeg": (15, 30, 50, 75, 90),
    "webp": (15, 30, 50, 75, 90),
    "avif": (20, 35, 50, 65, 80),
    "h265": (38, 33, 28, 23, 18),
}
CROPS = {"jpeg": (50, 75, 90), "webp": (50, 75, 90), "avif": (35, 50, 65, 80)}
HALOS_PX = (0, 32)
ROI = (35, 50, 65, 80)
TUNED = {"jpeg": (50, 75, 90), "avif": (35, 50, 65, 80), "h265": (28, 23, 18), "roi": (50, 65, 80)}
"""Qualities that the detector trained on coded pictures is given: those near the best AP."""

VIDEO = {"h264_video": (38, 33, 28, 23, 18), "h265_video": (38, 33, 28, 23, 18)}

UNCODED = "uncoded"
"""Name of the curve without any codec: what all others are held against; it has no bytes."""

DEVICE = "device"
"""Name of the curve that is no rival but the times of a device's stages."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One way of sending frames.

    Attributes:
        name: For people, files and `rate.json`.
        family: What it belongs to.
        codec: Of the pixels, or which of the family's ways.
        qualities: From few bytes to many, in the codec's own measure.
        halo_px: Of crops, pixels of the input sent round each patch.
        tuned: Judged by the detector that learned from coded pictures, dense.
    """

    name: str
    family: Family
    codec: str
    qualities: tuple[int, ...]
    halo_px: int = 0
    tuned: bool = False

    @property
    def rows(self) -> tuple[Row, ...]:
        """One for each quality."""
        return tuple(Row(self, quality) for quality in self.qualities)


@dataclass(frozen=True, slots=True)
class Row:
    """One way of sending frames at one quality."""

    curve: Curve
    quality: int

    @property
    def name(self) -> str:
        """For people and `rate.json`."""
        return f"{self.curve.name} {self.quality}"


def curves(rates: int, *, tuned: bool) -> tuple[Curve, ...]:
    """All curves of still frames.

    Args:
        rates: How many the bundle has.
        tuned: Whether there is a detector that learned from coded pictures.
    """
    whole = [Curve(name, "whole", name, qualities) for name, qualities in WHOLE.items()]
    crops = [
        Curve(f"crops_{codec}_halo{halo}", "crops", codec, qualities, halo)
        for codec, qualities in CROPS.items()
        for halo in HALOS_PX
    ]
    roi = [Curve(f"roi_{where}", "roi", where, ROI) for where in ("patches", "heat")]
    raw = [Curve(f"raw_{kind}", "raw", kind, (0,)) for kind in ("fp16", "int8")]
    coarse_first = tuple(reversed(range(rates)))
    ours = [
        Curve("ours", "ours", "patches", coarse_first),
        Curve("ours_whole", "ours", "whole", coarse_first),
    ]
    again = [
        replace(c, name=f"{c.name}_tuned", qualities=qualities, tuned=True)
        for c in (*whole, *roi)
        if tuned and (qualities := TUNED.get(c.name) or TUNED.get(c.family))
    ]
    return (*reference_curves(), *ours, *whole, *crops, *roi, *raw, *again)


def reference_curves() -> tuple[Curve, ...]:
    """The curves without which no other says anything."""
    return (Curve(UNCODED, "ours", UNCODED, (0,)), Curve(DEVICE, "ours", DEVICE, (0,)))


def video_curves(rates: int) -> tuple[Curve, ...]:
    """The curves of a sequence."""
    uncoded, _ = reference_curves()
    ours = Curve("ours", "ours", "patches", tuple(reversed(range(rates))))
    video = (Curve(name, "video", name, qualities) for name, qualities in VIDEO.items())
    return (uncoded, ours, *video)


def parts_of(only: Sequence[str]) -> frozenset[str]:
    """What a run is limited to, as typed: `whole,ours`, repeated or not; nothing means all.

    Raises:
        UsageError: There is no such part.
    """
    named = [part.strip() for one in only for part in one.split(",")]
    for part in named:
        if part not in PARTS:
            raise UsageError(f"--only: expected some of {', '.join(PARTS)}, got {part!r}")
    return frozenset(named or PARTS)


def wanted(some: Sequence[Curve], parts: Collection[str]) -> tuple[Curve, ...]:
    """The curves of some parts, and those without which none says anything."""
    return tuple(
        c
        for c in some
        if c.name in (UNCODED, DEVICE) or ("tuned" if c.tuned else c.family) in parts
    )
