"""The GPU as an engine needs it: memory on both sides, one stream, graphs that replay it.

    pinned array ─ upload ─> device memory ─ ... ─ download ─> pinned array      all on one stream
    └────────────────────── captured once, replayed every frame ─────────────┘

Everything goes through `Cuda`, so that the buffer code of the engine runs in tests without a GPU.
`CudaRuntime` is NVIDIA's own bindings (package cuda-bindings, extra `tensorrt`) behind it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sparsight.errors import BundleError, UsageError


class CudaError(BundleError):
    """A call of CUDA failed."""


@runtime_checkable
class Cuda(Protocol):
    """One GPU and one stream; used from one thread."""

    @property
    def gpu(self) -> str:
        """Its name and compute capability: what a built engine is good for."""
        ...

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        ...

    def pinned(self, shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
        """An array in memory that the GPU copies from and to without the CPU.

        Raises:
            CudaError: There is no memory left.
        """
        ...

    def allocate(self, size_bytes: int) -> int:
        """Address of new memory on the GPU.

        Raises:
            CudaError: There is no memory left.
        """
        ...

    def release(self) -> None:
        """Give back all arrays and memory, and all that was captured; they are gone."""
        ...

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy a pinned array to the GPU, once the stream comes to it."""
        ...

    def download(self, array: np.ndarray, address: int) -> None:
        """Copy from the GPU to a pinned array, once the stream comes to it."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Write down what some work puts on the stream.

        Returns:
            Puts all of it there again in one call.

        Raises:
            CudaError: Some of it can't be captured; nothing was done.
        """
        ...

    def wait(self) -> None:
        """Until the stream has done everything.

        Raises:
            CudaError: Some of it failed.
        """
        ...


class CudaRuntime:
    """`Cuda` over NVIDIA's bindings, on the first GPU."""

    def __init__(self) -> None:
        """Open the GPU.

        Raises:
            UsageError: The bindings are not installed, or there is no GPU or driver.
        """
        try:
            # Not there on most machines, and it wants a driver.
            from cuda.bindings import runtime  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(
                "TensorRT needs more packages: pip install 'sparsight[edge,tensorrt]', with "
                "cuda-bindings of the CUDA version on this machine"
            ) from error
        self._rt: Any = runtime
        try:
            properties = self._ask(runtime.cudaGetDeviceProperties(0))
            self._stream = self._ask(
                runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)
            )
        except (CudaError, RuntimeError) as error:  # the bindings raise where a library is missing
            raise UsageError(
                f"no GPU that TensorRT could use ({' '.join(str(error).split())[:200]})"
            ) from error
        name = properties.name
        self._gpu = (
            f"{name.decode() if isinstance(name, bytes) else name}, "
            f"compute {properties.major}.{properties.minor}"
        )
        self._host: list[int] = []
        self._device: list[int] = []
        self._graphs: list[Any] = []

    @property
    def gpu(self) -> str:
        """See `Cuda.gpu`."""
        return self._gpu

    @property
    def stream(self) -> int:
        """See `Cuda.stream`."""
        return int(self._stream)

    def pinned(self, shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
        """See `Cuda.pinned`."""
        size_bytes = int(np.prod(shape)) * kind.itemsize
        address = int(self._ask(self._rt.cudaHostAlloc(size_bytes, self._rt.cudaHostAllocDefault)))
        self._host.append(address)
        raw = (ctypes.c_uint8 * size_bytes).from_address(address)
        return np.ctypeslib.as_array(raw).view(kind).reshape(shape)

    def allocate(self, size_bytes: int) -> int:
        """See `Cuda.allocate`."""
        address = int(self._ask(self._rt.cudaMalloc(size_bytes)))
        self._device.append(address)
        return address

    def release(self) -> None:
        """See `Cuda.release`."""
        self.wait()
        for graph in self._graphs:
            self._ask(self._rt.cudaGraphExecDestroy(graph))
        for address in self._device:
            self._ask(self._rt.cudaFree(address))
        for address in self._host:
            self._ask(self._rt.cudaFreeHost(address))
        self._graphs, self._device, self._host = [], [], []

    def upload(self, address: int, array: np.ndarray) -> None:
        """See `Cuda.upload`."""
        kind = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ask(
            self._rt.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, self._stream)
        )

    def download(self, array: np.ndarray, address: int) -> None:
        """See `Cuda.download`."""
        kind = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._ask(
            self._rt.cudaMemcpyAsync(array.ctypes.data, address, array.nbytes, kind, self._stream)
        )

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Cuda.capture`."""
        mode = self._rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._ask(self._rt.cudaStreamBeginCapture(self._stream, mode))
        try:
            work()
        except Exception as error:
            # A stream stays in capture until it is ended, whatever became of the work.
            self._rt.cudaStreamEndCapture(self._stream)
            raise CudaError(f"the work can't be captured ({error})") from error
        drawn = self._ask(self._rt.cudaStreamEndCapture(self._stream))
        try:
            graph = self._ask(self._rt.cudaGraphInstantiate(drawn, 0))
        finally:
            self._rt.cudaGraphDestroy(drawn)
        self._graphs.append(graph)

        def replay() -> None:
            self._ask(self._rt.cudaGraphLaunch(graph, self._stream))

        return replay

    def wait(self) -> None:
        """See `Cuda.wait`."""
        self._ask(self._rt.cudaStreamSynchronize(self._stream))

    def _ask(self, answer: tuple[Any, ...]) -> Any:
        """What a call gave; each answers with its error first."""
        error, *rest = answer
        if int(error):
            raise CudaError(f"CUDA: {getattr(error, 'name', error)}")
        return rest[0] if rest else None
