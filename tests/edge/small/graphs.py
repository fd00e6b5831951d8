"""Small real graphs with `edge.onnx`'s contract, made with onnx."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sparsight.codec.zones import ZONES

OPSET = 18


def write_graph(
    file: Path,
    channels: int = 4,
    *,
    zones: int = ZONES,
    heat_name: str = "heat",
    heat_stride: int = 8,
    fixed_channels: bool = True,
) -> None:
    """A graph that averages: heat is the mean brightness of a cell's red, in [0, 1].

    Latent channel c of zone z is round(255 * mean over 16 px of the grey / steps[z, c]) - 10 * c,
    clipped.
    """
    k: Any = channels if fixed_channels else "k"
    offsets = -10.0 * np.arange(channels, dtype=np.float32).reshape(channels, 1, 1)
    constants = {
        "red": np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1),
        "grey": np.full((1, 3, 1, 1), 1 / 3, np.float32),
        "scale": np.array(1 / 255, np.float32),
        "full": np.array(255, np.float32),
        "low": np.array(-128, np.float32),
        "high": np.array(127, np.float32),
        "offsets": offsets,
        "one": np.array([1], np.int64),
        "as_channels": np.array([1, zones, -1, 1, 1], np.int64),
    }
    side = [heat_stride, heat_stride]
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["unit"]),
        helper.make_node("Conv", ["unit", "red"], ["redness"]),
        helper.make_node("AveragePool", ["redness"], ["hot"], kernel_shape=side, strides=side),
        helper.make_node("Squeeze", ["hot", "one"], [heat_name]),
        helper.make_node("Conv", ["unit", "grey"], ["greyness"]),
        helper.make_node(
            "AveragePool", ["greyness"], ["coarse"], kernel_shape=[16, 16], strides=[16, 16]
        ),
        helper.make_node("Mul", ["coarse", "full"], ["bytes"]),
        helper.make_node("Reshape", ["steps", "as_channels"], ["step_planes"]),
        helper.make_node("Div", ["bytes", "step_planes"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["rounded"]),
        helper.make_node("Add", ["rounded", "offsets"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "low", "high"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["latents"], to=TensorProto.INT8),
    ]
    graph = helper.make_graph(
        nodes,
        "averages",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "h", "w", 3]),
            helper.make_tensor_value_info("steps", TensorProto.FLOAT, [zones, k]),
        ],
        [
            helper.make_tensor_value_info(heat_name, TensorProto.FLOAT, [1, "gh", "gw"]),
            helper.make_tensor_value_info("latents", TensorProto.INT8, [1, zones, k, "lh", "lw"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(file))
