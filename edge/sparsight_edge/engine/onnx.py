"""`edge.onnx` in onnxruntime: the default engine, on x86 and ARM.

    image ─┐                      ┌─> heat
    steps ─┴─ `sparsight.graph` ──┴─> latents

Of the runtimes that were measured this one ties with OpenVINO and needs no second export (design,
runtimes.md §2).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from sparsight.errors import BundleError
from sparsight.geometry import CELL_PX
from sparsight.graph import Graph
from sparsight_edge.engine.engine import INPUT_STEP_PX, LATENT_PX, Maps


class OnnxEngine:
    """A graph in onnxruntime, on the CPU.

    Attributes:
        file: The graph.
        steps: Of each zone, the step size of each channel of the latents.
    """

    def __init__(self, file: Path, steps: Float32[np.ndarray, "z k"], threads: int = 1) -> None:
        """Load a graph.

        Args:
            file: The bundle's `edge.onnx`.
            steps: Step sizes of the rate in each zone, above 0.
            threads: Threads inside an operator. One leaves the other cores to capture and uplink,
                and to other agents.

        Raises:
            BundleError: The file is missing, no graph, or not one with this contract.
        """
        self.file = file
        self.steps = np.ascontiguousarray(steps)
        if not (np.isfinite(self.steps).all() and (self.steps > 0).all()):
            raise BundleError(f"{file}: step sizes must be finite and above 0, got {steps}")
        self._graph = Graph(file, self.steps.shape[1], threads)

    def run(self, image: UInt8[np.ndarray, "h w 3"]) -> Maps:
        """Look at one frame; see `Engine.run`."""
        height, width = image.shape[:2]
        if height % INPUT_STEP_PX or width % INPUT_STEP_PX or not image.size:
            raise ValueError(f"expected multiples of {INPUT_STEP_PX} px, got {width}x{height}")
        heat, latents = self._graph.run(
            ["heat", "latents"], {"image": image[None], "steps": self.steps}
        )
        for name, got, want in (
            ("heat", heat, (1, height // CELL_PX, width // CELL_PX)),
            ("latents", latents, (1, *self.steps.shape, height // LATENT_PX, width // LATENT_PX)),
        ):
            if got.shape != want:
                raise BundleError(
                    f"{self.file}: expected {name} of shape {list(want)} for an input of "
                    f"{width}x{height} px, got {list(got.shape)}; it was exported for another model"
                )
        return Maps(heat[0], latents[0])
