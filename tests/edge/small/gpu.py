"""A GPU and a TensorRT that stand in for real ones: onnxruntime behind the same names.

What is put on the stream is done when somebody waits, not before, and memory on the GPU is other
memory: buffer code that forgets to wait, to upload or to bind gives wrong numbers here too. A plan
is the graph's own bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort

from sparsight_edge.engine.cuda import CudaError

_streams: dict[int, SmallCuda] = {}
_handles = itertools.count(1)


class SmallCuda:
    """A `Cuda`."""

    def __init__(self, *, captures: bool = True) -> None:
        self.captures = captures
        self.memory: dict[int, np.ndarray] = {}
        self.host: list[np.ndarray] = []
        self.queue: list[Callable[[], None]] = []
        self.drawing: list[Callable[[], None]] | None = None
        self.replayed = self.enqueued = self.waits = 0
        self._stream = next(_handles)
        _streams[self._stream] = self

    @property
    def gpu(self) -> str:
        return "a small GPU, compute 0.1"

    @property
    def stream(self) -> int:
        return self._stream

    def pinned(self, shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
        self.host.append(np.full(shape, 77, kind))
        return self.host[-1]

    def allocate(self, size_bytes: int) -> int:
        address = 1000 * next(_handles)
        self.memory[address] = np.full(size_bytes, 33, np.uint8)
        return address

    def release(self) -> None:
        self.wait()
        for array in self.host:
            array.fill(99)
        self.host, self.memory = [], {}

    def upload(self, address: int, array: np.ndarray) -> None:
        assert any(array is one for one in self.host), "only pinned memory is copied from"
        self.put(lambda: np.copyto(self.memory[address], array.view(np.uint8).ravel()))

    def download(self, array: np.ndarray, address: int) -> None:
        assert any(array is one for one in self.host), "only pinned memory is copied to"
        self.put(lambda: np.copyto(array.view(np.uint8).reshape(-1), self.memory[address]))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        if not self.captures:
            raise CudaError("CUDA: cudaErrorStreamCaptureUnsupported")
        self.drawing = []
        work()
        drawn, self.drawing = self.drawing, None

        def replay() -> None:
            self.replayed += 1
            self.queue.extend(drawn)

        return replay

    def wait(self) -> None:
        self.waits += 1
        queue, self.queue = self.queue, []
        for one in queue:
            one()

    def put(self, work: Callable[[], None]) -> None:
        (self.queue if self.drawing is None else self.drawing).append(work)


class SmallTensorRt:
    """A `TensorRt`.

    Attributes:
        fails: Running an engine answers that it failed.
        built: How many engines were.
    """

    __name__ = "small"

    def __init__(self, version: str = "10.3.0") -> None:
        self.__version__ = version
        self.fails = False
        self.built = 0
        outer = self

        class Logger:
            ERROR = 1

            def __init__(self, level: int) -> None:
                assert level == self.ERROR

        class Network:
            graph = b""
            outputs: tuple[str, ...] = ("heat", "latents", "p3")

            @property
            def num_outputs(self) -> int:
                return len(self.outputs)

            def get_output(self, i: int) -> Any:
                return type("Tensor", (), {"name": self.outputs[i]})

            def unmark_output(self, tensor: Any) -> None:
                self.outputs = tuple(name for name in self.outputs if name != tensor.name)

        class Config:
            builder_optimization_level = 0
            profile: dict[str, Any] | None = None
            memory_bytes = 0

            def set_memory_pool_limit(self, pool: str, size_bytes: int) -> None:
                self.memory_bytes = size_bytes

            def add_optimization_profile(self, profile: Profile) -> int:
                self.profile = profile.shapes
                return 0

        class Profile:
            def __init__(self) -> None:
                self.shapes: dict[str, Any] = {}

            def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
                self.shapes[name] = shapes

        class Builder:
            def __init__(self, logger: Logger) -> None:
                pass

            def create_network(self, flags: int) -> Network:
                assert flags == 1 << 3, "strongly typed"
                return Network()

            def create_builder_config(self) -> Config:
                return Config()

            def create_optimization_profile(self) -> Profile:
                return Profile()

            def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
                least, usual, most = (config.profile or {})["image"]
                assert least <= usual <= most and config.memory_bytes
                assert "p3" not in network.outputs
                outer.built += 1
                return network.graph or None

        class OnnxParser:
            num_errors = 1

            def __init__(self, network: Network, logger: Logger) -> None:
                self.network = network

            def parse(self, graph: bytes) -> bool:
                self.network.graph = graph
                return b"heat" in graph

            def get_error(self, i: int) -> Any:
                return type("ParserError", (), {"desc": lambda self: "no\n graph"})()

        class Runtime:
            def __init__(self, logger: Logger) -> None:
                pass

            def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
                return _Engine(plan, outer) if b"heat" in plan else None

        self.Logger, self.Builder, self.OnnxParser, self.Runtime = (
            Logger,
            Builder,
            OnnxParser,
            Runtime,
        )
        self.NetworkDefinitionCreationFlag = type("Flags", (), {"STRONGLY_TYPED": 3})
        self.MemoryPoolType = type("Pools", (), {"WORKSPACE": "workspace"})


class _Engine:
    """An `ICudaEngine`; without P3, which was taken off."""

    def __init__(self, plan: bytes, trt: SmallTensorRt) -> None:
        self.trt = trt
        self.session = ort.InferenceSession(plan, providers=["CPUExecutionProvider"])
        ends = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.names: list[str] = [one.name for one in ends if one.name != "p3"]
        self.axes = {one.name: tuple(one.shape) for one in ends}
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, i: int) -> str:
        return self.names[i]

    def get_tensor_shape(self, name: str) -> tuple[Any, ...]:
        return tuple(-1 if isinstance(side, str) else side for side in self.axes[name])

    def create_execution_context(self) -> _Context:
        return _Context(self)


class _Context:
    """An `IExecutionContext`."""

    def __init__(self, engine: _Engine) -> None:
        self.engine = engine
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return max(shape) <= 4096

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        image = np.zeros(self.shape, np.uint8)
        return tuple(self._run(image)[name].shape)

    def execute_async_v3(self, stream: int) -> bool:
        cuda = _streams[stream]
        cuda.enqueued += 1
        addresses = dict(self.addresses)

        def work() -> None:
            image = cuda.memory[addresses["image"]].reshape(self.shape)
            steps = cuda.memory[addresses["steps"]].view(np.float32)
            for name, value in self._run(image, steps).items():
                np.copyto(cuda.memory[addresses[name]], value.view(np.uint8).ravel())

        cuda.put(work)
        return not self.engine.trt.fails

    def _run(self, image: np.ndarray, steps: np.ndarray | None = None) -> dict[str, np.ndarray]:
        shape = self.engine.axes["steps"]
        given = np.ones(shape, np.float32) if steps is None else steps.reshape(shape)
        names = ["heat", "latents"]
        told = self.engine.session.run(names, {"image": image, "steps": given})
        return dict(zip(names, told, strict=True))
