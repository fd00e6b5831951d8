"""`edge.onnx` in 8-bit integers, calibrated on pictures.

    graph ─ ranges on the pictures ─ quantise ─ what the rounded weights shift ─┐
      └── biases that undo the shift ─ quantise, same ranges <──────────────────┘

onnxruntime's static quantisation (QDQ, a scale a channel) writes the graph. Weights rounded to few
bits shift the mean of what a convolution gives, since what it sees after a ReLU6 has a mean; the
shift is known beforehand and taken out of the biases (arXiv 1906.04721, §4.2). Without it a graph
that is right in AP marked 9 % more cells and sent 9 % more bytes; it gains 1 to 3 dB of P3.

Two kinds, since no file is good for both (design runtimes.md §1 and §2):

- x86: unsigned activations, weights of 7 bits. With 8, sums of two products overflow 16 bits on
  CPUs without VNNI. Depthwise convolutions sum in 32 bits everywhere and keep all 8: 0.1 AP lost
  instead of 0.4.
- TensorRT: symmetric, signed, biases in float; it refuses anything else.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from jaxtyping import Float, Float32, UInt8
from onnx import numpy_helper
from rich.console import Console

from sparsight_cloud.precision.regions import integer_convs, integer_nodes
from sparsight_cloud.progress import counting

# Before onnxruntime is imported anywhere: as `sparsight.graph` has it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader

Image = UInt8[np.ndarray, "_ _ 3"]
Target = Literal["int8-x86", "int8-trt"]

_OPS = ["Conv", "Clip", "Relu", "Add"]


def in_integers(
    model: onnx.ModelProto,
    target: Target,
    images: Sequence[Image],
    steps: Float32[np.ndarray, "z k"],
    console: Console,
) -> onnx.ModelProto:
    """A graph of the same contract, most of it in integers.

    Args:
        model: The device half in single precision; is left as it is.
        target: Who is to run it.
        images: Letterboxed pictures like those to come, at least one; never the test set.
        steps: Of some rate; they have no part in what is quantised.
        console: Where to show progress.

    Raises:
        BundleError: It is not the graph of a device half.
    """
    model = _with_biases(model)
    convs = integer_convs(model.graph)
    inputs = [{"image": image[None], "steps": steps} for image in images]
    with (
        tempfile.TemporaryDirectory(prefix="sparsight-int8-") as folder,
        counting(console) as bar,
    ):
        seen = bar.track(inputs, description="pictures seen")
        rounded = _quantised(model, target, seen, Path(folder))
        seen = bar.track(inputs, description="means taken")
        means = _means(model, [conv.input[0] for conv in convs], seen)
        mended = _shifted_back(model, rounded, convs, means)
        # The ranges come from the folder this time.
        return _quantised(mended, target, inputs, Path(folder))


def _with_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with a bias at every convolution that will be in integers."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in out.graph.initializer}
    for conv in integer_convs(out.graph):
        if len(conv.input) == 2:
            name = f"{conv.input[1]}_bias"
            zeros = np.zeros(shapes[conv.input[1]][0], np.float32)
            out.graph.initializer.append(numpy_helper.from_array(zeros, name))
            conv.input.append(name)
    return out


def _quantised(
    model: onnx.ModelProto,
    target: Target,
    inputs: Iterable[Mapping[str, np.ndarray]],
    folder: Path,
) -> onnx.ModelProto:
    """The graph by onnxruntime's quantiser; the folder keeps the ranges from call to call."""
    before, after = folder / "float.onnx", folder / "quantised.onnx"
    before.write_bytes(model.SerializeToString())
    symmetric = target == "int8-trt"
    extra: dict[str, Any]
    if symmetric:
        extra = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
    else:
        whole = {"quant_type": QuantType.QInt8, "reduce_range": False, "axis": 0}
        depthwise = [c for c in integer_convs(model.graph) if _groups(c) > 1]
        extra = {"TensorQuantOverrides": {conv.input[1]: [whole] for conv in depthwise}}
    with _silent():
        quantize_static(
            str(before),
            str(after),
            _Reader(inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPS,
            nodes_to_quantize=integer_nodes(model.graph, integer_convs(model.graph)),
            per_channel=True,
            reduce_range=not symmetric,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            calibration_cache_path=str(folder / "ranges.json"),
            extra_options=extra,
        )
    return onnx.load(after)


def _means(
    model: onnx.ModelProto, names: Iterable[str], inputs: Iterable[Mapping[str, np.ndarray]]
) -> dict[str, Float[np.ndarray, " c"]]:
    """Mean of each channel of some tensors over the pictures."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    wanted = list(dict.fromkeys(names))
    there = {value.name for value in opened.graph.output}
    opened.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in wanted
        if name not in there
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        opened.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    sums: dict[str, np.ndarray] = {}
    count = 0
    for one in inputs:
        count += 1
        for name, value in zip(wanted, session.run(wanted, dict(one)), strict=True):
            sums[name] = sums.get(name, 0) + value.mean((0, 2, 3), dtype=np.float64)
    return {name: total / count for name, total in sums.items()}


def _shifted_back(
    model: onnx.ModelProto,
    rounded: onnx.ModelProto,
    convs: Sequence[onnx.NodeProto],
    means: Mapping[str, Float[np.ndarray, " c"]],
) -> onnx.ModelProto:
    """The graph with biases that take back what the rounding of weights adds on average."""
    was = {tensor.name: tensor for tensor in model.graph.initializer}
    now = {tensor.name: tensor for tensor in rounded.graph.initializer}
    out = onnx.ModelProto()
    out.CopyFrom(model)
    mended = {tensor.name: tensor for tensor in out.graph.initializer}
    for conv in convs:
        name, bias = conv.input[1], mended[conv.input[2]]
        weight = numpy_helper.to_array(was[name])
        scale = numpy_helper.to_array(now[f"{name}_scale"]).reshape(-1, 1, 1, 1)
        coded = numpy_helper.to_array(now[f"{name}_quantized"]).astype(np.float64) * scale
        error = (coded - weight).sum((2, 3))  # [out, in of its group]
        groups = _groups(conv)
        seen = means[conv.input[0]].reshape(groups, -1)
        shift = np.einsum("goi,gi->go", error.reshape(groups, -1, error.shape[1]), seen).ravel()
        values = numpy_helper.to_array(bias) - shift.astype(np.float32)
        bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    return out


def _groups(conv: onnx.NodeProto) -> int:
    return next((int(a.i) for a in conv.attribute if a.name == "group"), 1)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs one after the other, as the quantiser asks for them."""

    def __init__(self, inputs: Iterable[Mapping[str, np.ndarray]]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one's tensors; None at the end."""
        one = next(self._inputs, None)
        return None if one is None else dict(one)


@contextmanager
def _silent() -> Iterator[None]:
    """The quantiser logs advice about graphs that are not ours through the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
