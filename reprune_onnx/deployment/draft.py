"""The replacement of a node: other nodes, and the constants that they read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike

from reprune_onnx.analyzer.graph import Op
from reprune_onnx.deployment.facts import Facts

_AXES_ARE_INPUTS = 18  # the opset since which reductions read their axes


class Draft:
    """The nodes of ``opset`` that replace one node, with the constants that they read."""

    def __init__(self, op: Op, facts: Facts, opset: int) -> None:
        self.op = op
        self.facts = facts
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._opset = opset
        self._root = op.result

    def clear(self) -> None:
        """Begin anew."""
        self.nodes, self.tensors = [], []

    def add(
        self, kind: str, *inputs: str, last: bool = False, named: str = "", **attributes: Any
    ) -> str:
        """Add a node; the name of its output: ``named``, or the op's own for the ``last`` one."""
        k = len(self.nodes)
        output = self._root if last else named or f"{self._root}__{kind.lower()}{k}"
        name = self.op.name if last else f"{self.op.name}__{kind.lower()}{k}"
        self.nodes.append(
            onnx.helper.make_node(kind, inputs, [output], name, None, None, None, **attributes)
        )
        return output

    def reduce(self, kind: str, x: str, axes: Sequence[int]) -> str:
        """Add a reduction along ``axes``, which stay with extent 1."""
        if self._opset >= _AXES_ARE_INPUTS:
            return self.add(kind, x, self.constant(axes, np.int64))
        return self.add(kind, x, axes=list(axes))

    def constant(self, value: ArrayLike, dtype: DTypeLike | None = None) -> str:
        """Add a constant, a float of the op's own type unless ``dtype`` is given; its name."""
        name = f"{self._root}__constant{len(self.tensors)}"
        array = np.asarray(value, dtype=dtype or self.facts.float_type(self.op))
        self.tensors.append(onnx.numpy_helper.from_array(array, name))
        return name

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        """A tensor in another shape: a constant where it is one."""
        graph = self.facts.graph
        if graph.is_constant(name):
            array = graph.array(name)
            return self.constant(array.reshape(shape), array.dtype)
        return self.add("Reshape", name, self.constant(shape, np.int64))
