"""The device's half of the network as the agent sees it, whatever runs it.

image [h, w, 3] ── stem ─┬─ seeker ───> heat    [h/8, w/8]          object probability
                         └─ analysis ─> latents [4, k, h/16, w/16]  in the steps of each zone
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int8, UInt8

from sparsight.errors import BundleError
from sparsight.geometry import ALIGN_CELLS, CELL_PX

INPUT_STEP_PX = CELL_PX * ALIGN_CELLS
"""Height and width of an input are multiples of it."""

LATENT_PX = 2 * CELL_PX
"""Side of a cell of the latents, in input pixels."""


@dataclass(frozen=True, slots=True)
class Maps:
    """What the device's half says of one frame.

    Attributes:
        heat: Object probability of each cell of 8 px, in [0, 1].
        latents: Quantised features of each cell of 16 px, in the rate's steps of each zone.
    """

    heat: Float32[np.ndarray, "gh gw"]
    latents: Int8[np.ndarray, "z k lh lw"]


@runtime_checkable
class Engine(Protocol):
    """One loaded network at all rates of its bundle; used from one thread."""

    def run(self, image: UInt8[np.ndarray, "h w 3"], rate: int) -> Maps:
        """Look at one frame.

        Args:
            image: Letterboxed RGB, height and width multiples of `INPUT_STEP_PX`.
            rate: Index of the quality level whose steps the latents are to be in.

        Raises:
            BundleError: The graph failed, or what came out is not what it promised.
            ValueError: The image is not letterboxed, or there is no such rate.
        """
        ...


@dataclass(frozen=True, slots=True)
class Contract:
    """What every engine holds its graph to.

    Attributes:
        file: The graph, for messages.
        steps: Of each rate and zone, the step size of each channel of the latents.
    """

    file: Path
    steps: Float32[np.ndarray, "r z k"]

    def __post_init__(self) -> None:
        if not (np.isfinite(self.steps).all() and (self.steps > 0).all()):
            raise BundleError(
                f"{self.file}: step sizes must be finite and above 0, got {self.steps}"
            )

    def steps_of(self, rate: int) -> Float32[np.ndarray, "z k"]:
        """The graph's input for a rate.

        Raises:
            ValueError: There is no such rate.
        """
        if not 0 <= rate < len(self.steps):
            raise ValueError(f"expected a rate from 0 to {len(self.steps) - 1}, got {rate}")
        out: Float32[np.ndarray, "z k"] = self.steps[rate]
        return out

    def shapes(self, image: UInt8[np.ndarray, "h w 3"]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for an input.

        Raises:
            ValueError: The input is not letterboxed.
        """
        height, width = image.shape[:2]
        if height % INPUT_STEP_PX or width % INPUT_STEP_PX or not image.size:
            raise ValueError(f"expected multiples of {INPUT_STEP_PX} px, got {width}x{height}")
        return {
            "heat": (1, height // CELL_PX, width // CELL_PX),
            "latents": (1, *self.steps.shape[1:], height // LATENT_PX, width // LATENT_PX),
        }

    def maps(self, image: UInt8[np.ndarray, "h w 3"], found: Mapping[str, np.ndarray]) -> Maps:
        """What came out for an input, held against what should.

        Raises:
            BundleError: It is of another shape or type.
        """
        kinds = {"heat": np.dtype(np.float32), "latents": np.dtype(np.int8)}
        for name, want in self.shapes(image).items():
            got, kind = found[name], kinds[name]
            if got.shape != want or got.dtype != kind:
                raise BundleError(
                    f"{self.file}: expected {name} of shape {list(want)} and type {kind} for an "
                    f"input of {image.shape[1]}x{image.shape[0]} px, got {list(got.shape)} of "
                    f"{got.dtype}; it was exported for another model"
                )
        return Maps(found["heat"][0], found["latents"][0])
