"""The device's half of the network as the agent sees it, whatever runs it.

image [h, w, 3] ── stem ─┬─ seeker ───> heat    [h/8, w/8]          object probability
                         └─ analysis ─> latents [4, k, h/16, w/16]  in the steps of each zone
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int8, UInt8

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
    """One loaded network at one rate; used from one thread."""

    def run(self, image: UInt8[np.ndarray, "h w 3"]) -> Maps:
        """Look at one frame.

        Args:
            image: Letterboxed RGB, height and width multiples of `INPUT_STEP_PX`.

        Raises:
            BundleError: The graph failed, or what came out is not what it promised.
        """
        ...
