"""What is used of TensorRT, and where it comes from.

`tensorrt` comes with JetPack or NVIDIA's own index; `tensorrt_rtx`, its sister for desktop cards,
is on PyPI and builds engines on machines without a GPU, so tests use it. No wheel of either has
type stubs. Only names that 10.3 (JetPack 6), 10.13, 11.4 and RTX 1.7 all have are used: precision
is written in the graph, since the flags for it are gone from 11 (design runtimes.md §1).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from sparsight.errors import UsageError

NAMES: Mapping[str, tuple[str, ...]] = {
    "Logger": ("ERROR",),
    "Builder": (
        "create_network",
        "create_builder_config",
        "create_optimization_profile",
        "build_serialized_network",
    ),
    "INetworkDefinition": (
        "num_inputs",
        "num_outputs",
        "get_input",
        "get_output",
        "unmark_output",
    ),
    "IBuilderConfig": (
        "set_memory_pool_limit",
        "add_optimization_profile",
        "builder_optimization_level",
    ),
    "IOptimizationProfile": ("set_shape",),
    "OnnxParser": ("parse", "num_errors", "get_error"),
    "ParserError": ("desc",),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_shape",
        "create_execution_context",
    ),
    "IExecutionContext": (
        "set_input_shape",
        "set_tensor_address",
        "get_tensor_shape",
        "execute_async_v3",
    ),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "MemoryPoolType": ("WORKSPACE",),
}
"""Everything that is used, class by class; the tests hold it against what is installed."""


@runtime_checkable
class TensorRt(Protocol):
    """The module, as an argument of whoever uses it; the classes are those of `NAMES`."""

    __name__: str
    __version__: str

    @property
    def Logger(self) -> Any:  # noqa: D102
        ...

    @property
    def Builder(self) -> Any:  # noqa: D102
        ...

    @property
    def OnnxParser(self) -> Any:  # noqa: D102
        ...

    @property
    def Runtime(self) -> Any:  # noqa: D102
        ...

    @property
    def NetworkDefinitionCreationFlag(self) -> Any:  # noqa: D102
        ...

    @property
    def MemoryPoolType(self) -> Any:  # noqa: D102
        ...


def load_tensorrt() -> Any:
    """The installed TensorRT, a `TensorRt`.

    Raises:
        UsageError: There is none, or it does not load.
    """
    problems = []
    for name in ("tensorrt", "tensorrt_rtx"):
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:  # libraries or a driver are missing
            problems.append(f"{name}: {' '.join(str(error).split())[:120]}")
    raise UsageError(
        "TensorRT is not installed here: on a Jetson it comes with JetPack, seen by virtual "
        f"environments made with --system-site-packages ({'; '.join(problems)})"
    )
