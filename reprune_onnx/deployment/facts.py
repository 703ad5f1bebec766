"""Facts about a graph whose nodes are written for a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.inferred import inferred
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
        element_type = self.types.get(op.inputs[0]) if op.inputs else None
        return np.dtype(np.float16 if element_type == onnx.TensorProto.FLOAT16 else np.float32)


def facts_of(graph: Graph) -> Facts:
    """Return what ONNX's inference tells of a graph."""
    tensors = inferred(graph.proto)
    return Facts(graph, tensors.types, tensors.shapes)
