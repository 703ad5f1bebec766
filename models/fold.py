"""Fold BatchNormalization into the convolution before it, as exporters do by default."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper


def fold_batch_norm(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which no Conv is followed by a BatchNormalization that only it feeds."""
    folded = onnx.ModelProto()
    folded.CopyFrom(proto)
    graph = folded.graph
    values = {t.name: t for t in graph.initializer}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    convs = {n.output[0]: n for n in graph.node if n.op_type == "Conv"}
    gone = []
    for norm in graph.node:
        conv = convs.get(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if conv is not None and readers[norm.input[0]] == 1 == readers[conv.input[1]]:
            _fold(graph, conv, norm, values)
            gone.append(norm)
    for norm in gone:
        graph.node.remove(norm)
    read = {name for node in graph.node for name in node.input}
    kept = [t for t in graph.initializer if t.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return folded


def _fold(
    graph: onnx.GraphProto,
    conv: onnx.NodeProto,
    norm: onnx.NodeProto,
    values: dict[str, onnx.TensorProto],
) -> None:
    scale, shift, mean, var = (
        numpy_helper.to_array(values[name]).astype(np.float64) for name in norm.input[1:5]
    )
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    factor = scale / np.sqrt(var + epsilon)
    weight = values[conv.input[1]]
    w = numpy_helper.to_array(weight).astype(np.float64)
    old = numpy_helper.to_array(values[conv.input[2]]) if len(conv.input) > 2 else 0.0
    bias = shift + (old - mean) * factor
    new = (w * factor.reshape(-1, 1, 1, 1)).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(new, weight.name))
    name = weight.name.removesuffix(".weight") + ".folded_bias"
    graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), name))
    conv.input[:] = [conv.input[0], conv.input[1], name]
    conv.output[0] = norm.output[0]
