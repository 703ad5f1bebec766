"""Shapes and element types of what nodes make, by onnx's own shape inference, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import RESIZING
from reprune_onnx.types import Shape

_FEW = 64  # elements of a tensor that shape inference may need to see


class Inference:
    """The known element types, and the types and shapes that onnx infers for a node's outputs.

    Every floating-point type counts as float: no shape depends on it.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._types = {v.name: _computed_as(v.type.tensor_type.elem_type) for v in graph.inputs}

    def element_type(self, name: str) -> int:
        """The TensorProto type of a tensor; float where nothing tells."""
        if name not in self._types:
            if self._graph.is_constant(name):
                self._types[name] = _computed_as(self._graph.element_type(name))
            else:
                kind = self._graph.activation_type(name)
                self._types[name] = onnx.TensorProto.FLOAT if kind is None else _computed_as(kind)
        return self._types[name]

    def set_element_type(self, name: str, element_type: int) -> None:
        """Note the type of a tensor of which onnx is not asked."""
        self._types[name] = element_type

    def shape(
        self,
        op: Op,
        k: int,
        shapes: Mapping[str, Shape | None],
        values: Mapping[str, NDArray[Any] | None],
    ) -> Shape | None:
        """The shape of output ``k`` of a node; None where onnx cannot tell.

        ``shapes`` are those of its inputs, None where not even the rank is known; ``values`` are
        known ones of inputs that are no activations. The types of the outputs are noted.
        """
        types = {
            name: onnx.helper.make_tensor_type_proto(self.element_type(name), shape)
            for name, shape in shapes.items()
        }
        data = {
            name: tensor
            for name in op.inputs[1:]
            if name in values and (tensor := self._tensor(op, name, values[name])) is not None
        }
        proto = self._graph.proto
        try:
            inferred = onnx.shape_inference.infer_node_outputs(
                onnx.defs.get_schema(op.type, op.opset, op.domain),
                op.proto,
                types,
                data,
                opset_imports=list(proto.opset_import),
                ir_version=max(3, proto.ir_version),
            )
        except (
            onnx.defs.SchemaError,
            onnx.shape_inference.InferenceError,
            onnx.checker.ValidationError,
            RuntimeError,
            ValueError,
        ):
            return None
        for name, made in inferred.items():
            self._types[name] = _computed_as(made.tensor_type.elem_type)
        if k >= len(op.outputs) or op.outputs[k] not in inferred:
            return None
        tensor = inferred[op.outputs[k]].tensor_type
        if not tensor.HasField("shape"):
            return None
        return tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)

    def _tensor(self, op: Op, name: str, value: NDArray[Any] | None) -> onnx.TensorProto | None:
        """A small tensor of sizes or scales; None where it is neither."""
        if value is None or value.size > _FEW:
            return None
        array = value
        if not self._graph.is_constant(name):
            array = value.astype(onnx.helper.tensor_dtype_to_np_dtype(self.element_type(name)))
        if array.dtype.kind not in "iu" and op.type not in RESIZING:
            return None
        return onnx.numpy_helper.from_array(array, name)


def few(shape: Shape) -> bool:
    """Whether a tensor of this shape is small enough for shape inference to see its values."""
    return None not in shape and prod(n or 0 for n in shape) <= _FEW


def _computed_as(element_type: int) -> int:
    floats = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
    return onnx.TensorProto.FLOAT if element_type in floats else element_type
