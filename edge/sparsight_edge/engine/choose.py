"""From a bundle and a wish to the engine that runs it.

    --engine     fp32             int8-x86         fp16, int8-trt
    auto         TensorRT where   onnxruntime      TensorRT
                 it was built,
                 else onnxruntime
    onnx         onnxruntime      onnxruntime      onnxruntime, slowly
    openvino     OpenVINO         OpenVINO         OpenVINO, slowly
    tensorrt     TensorRT         refused          TensorRT

`auto` never builds: that takes minutes, and is `sparsight edge build`. It never takes OpenVINO,
which is no quicker (design, runtimes.md §2).
"""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from sparsight.bundle import EDGE, Bundle
from sparsight.errors import UsageError
from sparsight.geometry import Letterbox
from sparsight_edge.engine.cuda import Cuda, CudaRuntime
from sparsight_edge.engine.engine import Engine
from sparsight_edge.engine.onnx import OnnxEngine
from sparsight_edge.engine.openvino import OpenVinoEngine
from sparsight_edge.engine.tensorrt import TensorRtEngine
from sparsight_edge.engine.trt_api import TensorRt, load_tensorrt
from sparsight_edge.engine.trt_plan import PlanSettings, PlanStore, build_plan, default_plans
from sparsight_edge.settings import EngineName

USUAL_HW = (1080, 1920)
"""Frames that TensorRT engines are tuned for; others run as well, a little slower."""


def open_engine(
    bundle: Bundle,
    name: EngineName = "auto",
    threads: int = 1,
    plans: Path | None = None,
) -> Engine:
    """Open the engine that was asked for.

    Args:
        bundle: Of two halves.
        name: Which engine.
        threads: Of an engine on the CPU.
        plans: Where TensorRT engines are kept; None is the user's cache.

    Raises:
        BundleError: The graph is missing, or not one with the contract.
        UsageError: That engine is not there, was not built, or does not take this precision.
    """
    precision = bundle.manifest.precision
    if name == "tensorrt":
        return open_tensorrt(bundle, plans or default_plans())
    if name == "auto" and precision in ("fp16", "int8-trt"):
        try:
            return open_tensorrt(bundle, plans or default_plans())
        except UsageError as error:
            raise UsageError(
                f"{bundle.folder}: is in {precision}, which is for TensorRT: {error}. Or take the "
                "bundle in fp32 or int8-x86, or --engine onnx"
            ) from error
    if name == "auto" and precision == "fp32" and find_spec("tensorrt") is not None:
        with suppress(UsageError):  # no GPU, or nothing built: the CPU will do
            return open_tensorrt(bundle, plans or default_plans())
    if name == "openvino":
        return OpenVinoEngine(_graph(bundle), _steps(bundle), threads)
    return OnnxEngine(_graph(bundle), _steps(bundle), threads)


def build_engine(
    bundle: Bundle, plans: Path, trt: TensorRt | None = None, cuda: Cuda | None = None
) -> tuple[Path, bool]:
    """Build a bundle's TensorRT engine for this machine, unless it is there.

    Args:
        bundle: Of two halves.
        plans: Where engines are kept.
        trt: TensorRT; None is the installed one.
        cuda: The GPU; None is this machine's.

    Returns:
        Where it is, and whether it had to be built.

    Raises:
        BundleError: TensorRT does not take the graph.
        UsageError: There is no TensorRT or GPU, or the bundle is not for it.
    """
    _require_for_tensorrt(bundle)
    trt = trt or load_tensorrt()
    cuda = cuda or CudaRuntime()
    store, settings, file = PlanStore(plans, trt, cuda.gpu), plan_settings(bundle), _graph(bundle)
    if store.find(file, settings) is not None:
        return store.place(file, settings), False
    return store.keep(file, settings, build_plan(file, trt, settings)), True


def try_graph(graph: Path, long_side_px: int, trt: TensorRt | None = None) -> tuple[int, str]:
    """Build an engine of a graph and throw it away.

    Args:
        graph: The device half of a bundle.
        long_side_px: Long side of the largest input.
        trt: TensorRT; None is the installed one.

    Returns:
        Bytes of the engine, and which TensorRT built it.

    Raises:
        BundleError: TensorRT does not take the graph.
        UsageError: There is no TensorRT.
    """
    trt = trt or load_tensorrt()
    return len(
        build_plan(graph, trt, _settings_of(long_side_px))
    ), f"{trt.__name__} {trt.__version__}"


def open_tensorrt(
    bundle: Bundle,
    plans: Path,
    trt: TensorRt | None = None,
    cuda: Cuda | None = None,
) -> TensorRtEngine:
    """Open the engine that was built of a bundle on this machine.

    Args:
        bundle: Of two halves.
        plans: Where engines are kept.
        trt: TensorRT; None is the installed one.
        cuda: The GPU; None is this machine's.

    Raises:
        BundleError: What was built is damaged, or does not load.
        UsageError: There is no TensorRT or GPU, nothing was built, or the bundle is not for it.
    """
    _require_for_tensorrt(bundle)
    trt = trt or load_tensorrt()
    cuda = cuda or CudaRuntime()
    plan = PlanStore(plans, trt, cuda.gpu).find(_graph(bundle), plan_settings(bundle))
    if plan is None:
        raise UsageError(
            f"{bundle.folder}: no engine of it was built on {cuda.gpu} with {trt.__name__} "
            f"{trt.__version__}; run `sparsight edge build --bundle {bundle.folder}`"
        )
    return TensorRtEngine(_graph(bundle), _steps(bundle), plan, trt, cuda)


def plan_settings(bundle: Bundle) -> PlanSettings:
    """How a bundle's engine is built."""
    return _settings_of(bundle.manifest.long_side_px)


def _settings_of(long_side_px: int) -> PlanSettings:
    return PlanSettings(long_side_px, Letterbox.fit(USUAL_HW, long_side_px).input_hw)


def _graph(bundle: Bundle) -> Path:
    return bundle.folder / EDGE


def _steps(bundle: Bundle) -> Float32[np.ndarray, "r z k"]:
    return np.array([rate.steps for rate in bundle.manifest.rates], np.float32)


def _require_for_tensorrt(bundle: Bundle) -> None:
    if bundle.manifest.precision == "int8-x86":
        raise UsageError(
            f"{bundle.folder}: is in int8-x86, which TensorRT does not take; export it with "
            "`sparsight bundle export --precision int8-trt`"
        )
