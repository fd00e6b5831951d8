"""`edge.onnx` in OpenVINO: on Intel's CPUs, and where memory is short.

    image ─┐                                        ┌─> heat
    steps ─┴─ the graph, P3 taken off, compiled ────┴─> latents

As quick as onnxruntime in fp32 with a third less memory, slower in int8 (design, runtimes.md §2),
and so only taken when it is asked for. The same file, the same integers up to those that fall
between two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from sparsight.errors import BundleError, UsageError
from sparsight_edge.engine.engine import Contract, Maps

_INPUTS, _OUTPUTS = ("image", "steps"), ("heat", "latents")


class OpenVinoEngine:
    """A graph in OpenVINO, on the CPU."""

    def __init__(self, file: Path, steps: Float32[np.ndarray, "r z k"], threads: int = 1) -> None:
        """Load a graph.

        Args:
            file: The bundle's `edge.onnx`.
            steps: Step sizes of each rate in each zone, above 0.
            threads: Threads inside an operator.

        Raises:
            BundleError: The file is missing, no graph, or not one with this contract.
            UsageError: OpenVINO is not installed.
        """
        try:
            # Half a second, and most devices have none.
            import openvino  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(
                "the engine openvino needs more packages: pip install 'sparsight[edge,openvino]'"
            ) from error
        self._contract = Contract(file, np.ascontiguousarray(steps))
        if not file.is_file():
            raise BundleError(f"{file}: missing; this bundle has no device half, or copy it again")
        core = openvino.Core()
        try:
            model = core.read_model(str(file))
            _keep_outputs(model, file)
            self._compiled: Any = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": 1,
                    "PERFORMANCE_HINT": "LATENCY",
                    # Or it may compute in 16 bits where the CPU can.
                    "INFERENCE_PRECISION_HINT": "f32",
                },
            )
        except RuntimeError as error:
            raise BundleError(
                f"{file}: not a graph that OpenVINO {openvino.__version__} can load "
                f"({_one_line(error)}); copy the bundle again"
            ) from error
        self._request = self._compiled.create_infer_request()

    def run(self, image: UInt8[np.ndarray, "h w 3"], rate: int) -> Maps:
        """Look at one frame; see `Engine.run`."""
        self._contract.shapes(image)
        inputs = {"image": image[None], "steps": self._contract.steps_of(rate)}
        try:
            told = self._request.infer(inputs)
        except RuntimeError as error:
            raise BundleError(
                f"{self._contract.file}: failed on an input of {image.shape[1]}x{image.shape[0]} "
                f"px: {_one_line(error)}"
            ) from error
        # Its outputs lie in buffers that the next frame writes to.
        return self._contract.maps(image, {name: told[name].copy() for name in _OUTPUTS})


def _keep_outputs(model: Any, file: Path) -> None:
    """Take off what a device does not ask for; all that is left would be computed and copied."""
    inputs = sorted(port.any_name for port in model.inputs)
    outputs = {port.any_name: port for port in model.outputs}
    if inputs != sorted(_INPUTS) or not outputs.keys() >= set(_OUTPUTS):
        raise BundleError(
            f"{file}: not the device half of a detector: expected inputs {', '.join(_INPUTS)} and "
            f"outputs {', '.join(_OUTPUTS)}, got {', '.join(inputs)} and {', '.join(outputs)}"
        )
    for result in list(model.get_results()):
        if set(_OUTPUTS).isdisjoint(result.input_value(0).get_names()):
            model.remove_result(result)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
