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

from sparsight.graph import Graph
from sparsight_edge.engine.engine import Contract, Maps


class OnnxEngine:
    """A graph in onnxruntime, on the CPU."""

    def __init__(self, file: Path, steps: Float32[np.ndarray, "r z k"], threads: int = 1) -> None:
        """Load a graph.

        Args:
            file: The bundle's `edge.onnx`.
            steps: Step sizes of each rate in each zone, above 0.
            threads: Threads inside an operator. One leaves the other cores to capture and uplink,
                and to other agents.

        Raises:
            BundleError: The file is missing, no graph, or not one with this contract.
        """
        self._contract = Contract(file, np.ascontiguousarray(steps))
        self._graph = Graph(file, steps.shape[2], threads)

    def run(self, image: UInt8[np.ndarray, "h w 3"], rate: int) -> Maps:
        """Look at one frame; see `Engine.run`."""
        names = list(self._contract.shapes(image))
        inputs = {"image": image[None], "steps": self._contract.steps_of(rate)}
        found = dict(zip(names, self._graph.run(names, inputs), strict=True))
        return self._contract.maps(image, found)
