"""Which nodes of `edge.onnx` may leave single precision, and which must not.

    image ─ normalise ─ conv conv conv ─ conv ... conv ─> p3 ─┬─ seeker ───────────> heat
                                                              └─ look ─ refine, linear ─ / steps
                                                                                        └─> latents
    fp16     float        half   half     half    half           all of it half      float
    int8     float       float, all three int8    int8           look int8, the rest of it float

Integers cost accuracy where the device half is narrow: the first three convolutions lose 5 dB of P3
and are hardly quicker (a depthwise one after an unnormalised picture), the seeker's 13x13 is three
times slower in integers, and what is left of it and of the analysis takes 4 % of the time
(docs/LOG.md, 2026-11-28). The division by steps is exact to the last bit or changes latents.

Nodes are told by the names of their weights, which are those of `model.export.EdgeHalf`.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from sparsight.errors import BundleError

FIRST_IN_FLOAT = 3
"""Convolutions from the picture on that stay in float in an int8 graph."""

_STEM, _LOOK = "units.", "analysis.look."
_ACTIVATIONS = ("Clip", "Relu")
"""Those that an int8 convolution takes in; others stay in float behind it."""


def integer_convs(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Convolutions that may be computed in 8-bit integers.

    Raises:
        BundleError: It is not the graph of a device half.
    """
    convs = [node for node in graph.node if node.op_type == "Conv"]
    stem = [node for node in convs if node.input[1].startswith(_STEM)]
    look = [node for node in convs if node.input[1].startswith(_LOOK)]
    chosen = stem[FIRST_IN_FLOAT:] + look
    if not chosen or not look:
        raise BundleError(
            "edge.onnx: has no convolutions of a stem and an analysis by their names; it was "
            "written by another version, build the bundle again"
        )
    return chosen


def integer_nodes(graph: onnx.GraphProto, convs: Iterable[onnx.NodeProto]) -> list[str]:
    """Names of those convolutions, their activations and the sums between them."""
    names, made = set[str](), set[str]()
    for conv in convs:
        names.add(conv.name)
        made.update(conv.output)
    for node in graph.node:
        joins = node.op_type in _ACTIVATIONS and node.input[0] in made
        joins |= node.op_type == "Add" and made.issuperset(node.input)
        if joins:
            names.add(node.name)
            made.update(node.output)
    return [node.name for node in graph.node if node.name in names]


def half_nodes(graph: onnx.GraphProto) -> set[str]:
    """First outputs of the nodes that may be computed in 16 bits: all but both ends.

    Those from the first convolution on, without what the steps have a part in.
    """
    names, told = set[str](), {"steps"}
    begun = False
    for node in graph.node:
        begun |= node.op_type == "Conv"
        if not told.isdisjoint(node.input):
            told.update(node.output)
        elif begun:
            names.add(node.output[0])
    return names
