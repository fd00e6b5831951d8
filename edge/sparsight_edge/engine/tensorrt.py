"""A built TensorRT engine: pinned buffers, one stream, a graph replayed for every frame.

    image ─ copy ─> pinned ─ upload ─> image ─┐              ┌─> heat ──── download ─> pinned
    steps ─ copy ─> pinned ─ upload ─> steps ─┴─ the engine ─┴─> latents ─ download ─> pinned
                              └────────── captured at the first frame of a size ────────┘

Buffers are for one size of input; another size means new ones, which cameras never ask for. Where
the work can't be captured it is put on the stream piece by piece: the same numbers, some tenths of
a millisecond later. A run on a Jetson has not been tried yet (README); the code below runs in tests
against a runtime that stands in for the GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from sparsight.errors import BundleError
from sparsight_edge.engine.cuda import Cuda, CudaError
from sparsight_edge.engine.engine import Contract, Maps
from sparsight_edge.engine.trt_api import TensorRt

_INPUTS, _OUTPUTS = ("image", "steps"), ("heat", "latents")
_KINDS: dict[str, np.dtype[Any]] = {
    "image": np.dtype(np.uint8),
    "steps": np.dtype(np.float32),
    "heat": np.dtype(np.float32),
    "latents": np.dtype(np.int8),
}


@dataclass(frozen=True, slots=True)
class _Bound:
    """Buffers for one size of input.

    Attributes:
        hw: The size.
        host: Pinned arrays by name.
        device: Addresses by name.
        replay: Does a frame in one call; None where that can't be.
    """

    hw: tuple[int, int]
    host: dict[str, np.ndarray]
    device: dict[str, int]
    replay: Callable[[], None] | None


class TensorRtEngine:
    """A plan on a GPU."""

    def __init__(
        self,
        file: Path,
        steps: Float32[np.ndarray, "r z k"],
        plan: bytes,
        trt: TensorRt,
        cuda: Cuda,
    ) -> None:
        """Load a plan.

        Args:
            file: The graph that it was built of, for messages.
            steps: Step sizes of each rate in each zone, above 0.
            plan: From `build_plan`.
            trt: The TensorRT that built it.
            cuda: The GPU that it was built for.

        Raises:
            BundleError: The plan does not load, or is of another graph.
        """
        self._contract = Contract(file, np.ascontiguousarray(steps))
        self._cuda = cuda
        self._bound: _Bound | None = None
        # Both must live as long as the engine does.
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BundleError(
                f"{file}: its engine does not load on {cuda.gpu}; run `sparsight edge build` here"
            )
        names = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
        if names != {*_INPUTS, *_OUTPUTS}:
            raise BundleError(
                f"{file}: its engine has {', '.join(sorted(names))}, expected "
                f"{', '.join((*_INPUTS, *_OUTPUTS))}; run `sparsight edge build` again"
            )
        if tuple(self._engine.get_tensor_shape("steps")) != steps.shape[1:]:
            raise BundleError(
                f"{file}: its engine takes steps of shape "
                f"{list(self._engine.get_tensor_shape('steps'))}, the rates have "
                f"{list(steps.shape[1:])}; its files are of different models"
            )
        self._context: Any = self._engine.create_execution_context()
        if self._context is None:
            raise BundleError(f"{file}: no memory on {cuda.gpu} to run its engine")

    def run(self, image: UInt8[np.ndarray, "h w 3"], rate: int) -> Maps:
        """Look at one frame; see `Engine.run`."""
        steps = self._contract.steps_of(rate)
        hw = image.shape[0], image.shape[1]
        bound = self._bound
        if bound is None or bound.hw != hw:
            bound = self._bind(image)
        np.copyto(bound.host["image"][0], image)
        np.copyto(bound.host["steps"], steps)
        if bound.replay is not None:
            bound.replay()
        else:
            self._enqueue(bound.host, bound.device)
        self._cuda.wait()
        # The pinned arrays are the next frame's.
        return self._contract.maps(image, {name: bound.host[name].copy() for name in _OUTPUTS})

    def close(self) -> None:
        """Give the GPU's memory back."""
        self._bound = None
        self._cuda.release()

    def _bind(self, image: UInt8[np.ndarray, "h w 3"]) -> _Bound:
        """Buffers for this size in the place of those there were, and the work captured."""
        shapes = {
            **self._contract.shapes(image),
            "image": (1, *image.shape),
            "steps": self._contract.steps.shape[1:],
        }
        self.close()
        if not self._context.set_input_shape("image", shapes["image"]):
            raise BundleError(
                f"{self._contract.file}: its engine takes no input of {image.shape[1]}x"
                f"{image.shape[0]} px; run `sparsight edge build` for this bundle"
            )
        for name in _OUTPUTS:
            told = tuple(self._context.get_tensor_shape(name))
            if told != shapes[name]:
                raise BundleError(
                    f"{self._contract.file}: its engine gives {name} of shape {list(told)}, "
                    f"expected {list(shapes[name])}; it was exported for another model"
                )
        host = {name: self._cuda.pinned(shapes[name], kind) for name, kind in _KINDS.items()}
        device = {name: self._cuda.allocate(array.nbytes) for name, array in host.items()}
        for name, address in device.items():
            self._context.set_tensor_address(name, address)
        # TensorRT sets itself up in the first run of a shape, which must not be captured.
        host["image"].fill(0)
        host["steps"].fill(1)
        self._enqueue(host, device)
        self._cuda.wait()
        try:
            replay = self._cuda.capture(lambda: self._enqueue(host, device))
        except CudaError:
            replay = None
        self._bound = _Bound((image.shape[0], image.shape[1]), host, device, replay)
        return self._bound

    def _enqueue(self, host: dict[str, np.ndarray], device: dict[str, int]) -> None:
        for name in _INPUTS:
            self._cuda.upload(device[name], host[name])
        if not self._context.execute_async_v3(self._cuda.stream):
            raise BundleError(f"{self._contract.file}: TensorRT failed to run its engine")
        for name in _OUTPUTS:
            self._cuda.download(host[name], device[name])
