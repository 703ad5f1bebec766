"""Floating-point types: what a verification may allow, and float32 copies where needed."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from reprune_onnx.analyzer.graph import Graph, to_array
from reprune_onnx.types import ChannelMap

WIDE = frozenset({onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16})
"""The types that ONNX Runtime's CPU provider cannot run."""

HALF = WIDE | {onnx.TensorProto.FLOAT16}
"""These and float16, in which the activations of an untrained model may vanish."""


HALF_STEP = 2.0**-24
"""The smallest step of float16: what vanishes in it differs by one, and no less."""

TOLERANCE, HALF_TOLERANCE = 1e-4, 5e-3
"""The differences that a verification allows, in units of an output's scale."""


def tolerance(graph: Graph, channels: ChannelMap) -> float:
    """The difference allowed, relative to an output's scale, for the coarsest type of weight."""
    types = {graph.element_type(layer.weight) for layer in channels.layers}
    if onnx.TensorProto.BFLOAT16 in types:
        return 3e-2
    if onnx.TensorProto.FLOAT16 in types:
        return HALF_TOLERANCE
    return TOLERANCE


def as_float32(proto: onnx.ModelProto, wide: Collection[int] = WIDE) -> onnx.ModelProto:
    """The model itself, or a float32 copy of one in a type of ``wide``; the cut is the same."""
    types = {t.data_type for t in proto.graph.initializer} | _constant_types(proto)
    types |= {i.type.tensor_type.elem_type for i in proto.graph.input}
    if not types & set(wide):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    _convert(copy.graph, wide)
    return copy


def _convert(graph: onnx.GraphProto, wide: Collection[int]) -> None:
    for tensor in graph.initializer:
        _convert_tensor(tensor, wide)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in wide:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _convert_tensor(attribute.t, wide)
            if attribute.name in ("to", "dtype") and attribute.i in wide:
                attribute.i = onnx.TensorProto.FLOAT
            for body in (attribute.g, *attribute.graphs):
                if body.node:
                    _convert(body, wide)


def _convert_tensor(tensor: onnx.TensorProto, wide: Collection[int]) -> None:
    if tensor.data_type in wide:
        array = to_array(tensor).astype("float32")
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def _constant_types(proto: onnx.ModelProto) -> set[int]:
    return {
        attribute.t.data_type
        for node in proto.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.HasField("t")
    }
