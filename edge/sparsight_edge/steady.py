"""A still camera's maps without their flicker: what did not change is as it was told before.

    maps ─ fields that changed since they were told last ─┬─ changed: as they are ─┬─> maps
    maps told before ─────────────────────────────────────┴─ the same: as before ──┘     │
          ^──────────────────────────────────────────────────────────────────────────────┘

Sensor noise alone moves a few latents of every cell by a step and heat by some hundredths, so no
two frames of a still scene are alike. Here a field keeps its heat and its latents, whatever came in
between, until a cell of it has moved by more than a bound from what was told. Since it is held
against that and not against the last frame, nothing creeps away unseen. Fields that are alike to
the last bit are what a stream need not send again (`sparsight.codec.reuse`), and patches and marks,
which follow from heat, are alike as well.

A camera that moves changes nearly every field. Then nothing is held: the maps go as they came.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from sparsight.errors import UsageError
from sparsight.geometry import ALIGN_CELLS, CELL_PX
from sparsight_edge.engine.engine import LATENT_PX, Maps

_FINEST = 0


@dataclass(frozen=True, slots=True)
class SteadySettings:
    """When a field counts as the same.

    Attributes:
        latents: Most that a cell of it may have moved: mean over its channels, in steps of the
            finest zone. Noise of a sensor moves it by 0.1, an object that comes or goes by 0.3.
        heat: Most that the heat of a cell may have moved.
        still: Share of fields that must be the same; below it the camera is taken to move.
    """

    latents: float = 0.18
    heat: float = 0.2
    still: float = 0.75

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            UsageError: A value outside its range.
        """
        for name, most in (("latents", 255.0), ("heat", 1.0), ("still", 1.0)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise UsageError(f"steady.{name}: expected 0 to {most:g}, got {value}")


class Steady:
    """Owns what was told last; for one thread.

    Attributes:
        settings: When a field counts as the same.
    """

    def __init__(self, settings: SteadySettings) -> None:
        """With nothing told yet."""
        self.settings = settings
        self._told: Maps | None = None
        self._rate = -1

    def hold(self, maps: Maps, rate: int) -> Maps:
        """The maps to be told of a frame.

        Args:
            maps: What the engine says of it.
            rate: The codec's quality level, in whose steps latents are.
        """
        told = self._told
        alike = rate == self._rate and told is not None and told.heat.shape == maps.heat.shape
        if told is not None and alike:
            same = same_fields(maps, told, self.settings)
            if same.mean() >= self.settings.still:
                maps = _composed(maps, told, same)
        self._told, self._rate = maps, rate
        return maps


def same_fields(maps: Maps, told: Maps, settings: SteadySettings) -> Bool[np.ndarray, "fh fw"]:
    """Which fields of two maps of one size are the same."""
    moved = np.abs(np.subtract(maps.latents[_FINEST], told.latents[_FINEST], dtype=np.int16))
    sums = moved.sum(0, dtype=np.int32)
    most = settings.latents * len(moved)
    side = ALIGN_CELLS * CELL_PX // LATENT_PX
    other = _any(sums > most, side)
    other |= _any(np.abs(maps.heat - told.heat) > settings.heat, ALIGN_CELLS)
    return ~other


def _composed(maps: Maps, told: Maps, same: Bool[np.ndarray, "fh fw"]) -> Maps:
    heat_same = same.repeat(ALIGN_CELLS, 0).repeat(ALIGN_CELLS, 1)
    side = ALIGN_CELLS * CELL_PX // LATENT_PX
    latents_same = same.repeat(side, 0).repeat(side, 1)
    return Maps(
        np.where(heat_same, told.heat, maps.heat),
        np.where(latents_same, told.latents, maps.latents),
    )


def _any(cells: Bool[np.ndarray, "h w"], side: int) -> Bool[np.ndarray, "fh fw"]:
    h, w = cells.shape
    out: Bool[np.ndarray, "fh fw"] = cells.reshape(h // side, side, w // side, side).max((1, 3))
    return out
