"""`edge.onnx` in half precision, written into the graph.

    float nodes ─ Cast ─> half nodes with half weights ─ Cast ─> float nodes, outputs

onnxruntime's own converter casts to 16 bits and back between any two nodes that are to stay in
float, so latents would be rounded twice; here a tensor is cast where it crosses, once. The graph
is typed throughout, as TensorRT 11 wants it: it has no flag for 16 bits any more.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sparsight_cloud.precision.regions import half_nodes

_HALF, _FLOAT = "_in_half", "_in_float"


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of the same names and types at its ends, in half precision between them.

    Args:
        model: The device half in single precision; is left as it is.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    halves = half_nodes(graph)
    weights = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    floats = _float_tensors(graph)
    born_half = {o for n in graph.node if n.output[0] in halves for o in n.output} & floats
    nodes, crossed = list[onnx.NodeProto](), set[str]()

    def cross(name: str, suffix: str, to: int) -> str:
        """A tensor's name in the other precision; its cast is written when first asked for."""
        other = name + suffix
        if other not in crossed:
            crossed.add(other)
            nodes.append(helper.make_node("Cast", [name], [other], name=f"cast_{other}", to=to))
        return other

    for node in graph.node:
        half = node.output[0] in halves
        for i, name in enumerate(node.input):
            if half and name in weights:
                node.input[i] = name + _HALF
                crossed.add(name + _HALF)
            elif half and name in floats - born_half:
                node.input[i] = cross(name, _HALF, TensorProto.FLOAT16)
            elif not half and name in born_half:
                node.input[i] = cross(name, _FLOAT, TensorProto.FLOAT)
        nodes.append(node)
    ends = {value.name for value in graph.output} & born_half
    for node in nodes:
        node.output[:] = [o + _HALF if o in ends else o for o in node.output]
        node.input[:] = [i + _HALF if i in ends else i for i in node.input]
    nodes += [
        helper.make_node("Cast", [end + _HALF], [end], name=f"cast_{end}", to=TensorProto.FLOAT)
        for end in sorted(ends)
    ]
    for tensor in list(graph.initializer):
        if tensor.name + _HALF in crossed:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            graph.initializer.append(numpy_helper.from_array(values, tensor.name + _HALF))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    onnx.checker.check_model(out, full_check=True)
    return out


def _float_tensors(graph: onnx.GraphProto) -> set[str]:
    """Names of the single-precision tensors that are no weights."""
    known = [*graph.input, *graph.output, *graph.value_info]
    found = {v.name for v in known if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    told = {v.name for v in known}
    missing = {o for n in graph.node for o in n.output} - told
    if missing:
        inferred = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph)).graph
        found |= {
            v.name
            for v in inferred.value_info
            if v.name in missing and v.type.tensor_type.elem_type == TensorProto.FLOAT
        }
    return found
