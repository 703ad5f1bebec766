"""Other values for the constants of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from reprune_onnx.types import Model


def with_values(model: Model, values: Mapping[str, NDArray[Any]]) -> Model:
    """Return a copy of ``model`` with other values for initializers and Constant nodes, by name."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in proto.graph.initializer:
        if tensor.name in values:
            _set(tensor, values[tensor.name])
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.output[0] in values:
            for attribute in node.attribute:
                _set(attribute.t, values[node.output[0]])
    return Model(proto, model.path)


def _set(tensor: onnx.TensorProto, array: NDArray[Any]) -> None:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(dtype), tensor.name))
