"""What is known of a graph whose nodes are written for a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.model import copy_emptied
from reprune_onnx.types import Shape


@dataclass(frozen=True)
class Facts:
    """A graph with the element types and the shapes of its tensors, as far as they are known.

    An extent is None where it is symbolic.
    """

    graph: Graph
    types: Mapping[str, int]
    shapes: Mapping[str, Shape]

    def given(self, op: Op, i: int) -> bool:
        """Whether something reads output ``i`` of a node, or the graph gives it out."""
        name = op.outputs[i] if i < len(op.outputs) else ""
        return bool(name) and (name in self.graph.outputs or bool(self.graph.readers(name)))

    def computed(self, op: Op, i: int) -> bool:
        """Whether input ``i`` of a node depends on the graph's inputs."""
        return op.has(i) and not self.graph.is_constant(op.inputs[i])

    def rank(self, name: str) -> int | None:
        """The rank of a tensor, if it is known."""
        return len(self.shapes[name]) if name in self.shapes else None

    def float_type(self, op: Op) -> np.dtype[Any]:
        """float16 where what a node reads first is known to be that, else float32."""
        own = self.types.get(op.inputs[0]) if op.inputs else None
        return np.dtype(np.float16 if own == onnx.TensorProto.FLOAT16 else np.float32)


def facts_of(graph: Graph) -> Facts:
    """Return what ONNX's inference tells of a graph: it is a help, not a check."""
    proto = graph.proto
    light = copy_emptied(proto, {t.name for t in proto.graph.initializer if len(t.dims) > 1})
    for tensor, full in zip(light.graph.initializer, proto.graph.initializer, strict=True):
        tensor.data_type = full.data_type
        del tensor.dims[:]
        tensor.dims.extend(full.dims)
    try:
        inferred = onnx.shape_inference.infer_shapes(light)
    except Exception:  # onnx's errors share no base class
        inferred = light
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    types = {t.name: int(t.data_type) for t in light.graph.initializer}
    shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in light.graph.initializer}
    for value in values:
        tensor = value.type.tensor_type
        if tensor.elem_type:
            types[value.name] = int(tensor.elem_type)
        if tensor.HasField("shape"):
            dims = tensor.shape.dim
            shapes[value.name] = tuple(
                d.dim_value if d.HasField("dim_value") else None for d in dims
            )
    return Facts(graph, types, shapes)
