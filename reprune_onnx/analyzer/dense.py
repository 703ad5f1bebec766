"""Sparse constants as dense ones: a cut takes slices, which a list of places does not have."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import onnx

from reprune_onnx.errors import ModelError
from reprune_onnx.types import Model

MOST = 2**30
"""Bytes of one dense tensor; a few places can be said to lie in a tensor that no memory holds."""


def as_dense(model: Model) -> Model:
    """The model with every sparse initializer, and every sparse value of a Constant, written dense.

    It is the model itself where there are none. What would take more than `MOST` bytes stays as it
    is, and so do the tensors of bodies. Raises ModelError for places outside the tensor.
    """
    graph = model.proto.graph
    if not any(_fits(t) for _, t in sparse_tensors(model.proto)):
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    kept = [t for t in graph.sparse_initializer if not _fits(t)]
    dense = [_dense(t, t.values.name) for t in graph.sparse_initializer if _fits(t)]
    del proto.graph.sparse_initializer[:]
    proto.graph.sparse_initializer.extend(kept)
    proto.graph.initializer.extend(dense)
    for node in proto.graph.node:
        for attribute in node.attribute:
            if _is_sparse(node, attribute) and _fits(attribute.sparse_tensor):
                value = _dense(attribute.sparse_tensor, node.output[0])
                attribute.CopyFrom(onnx.helper.make_attribute("value", value))
    return replace(model, proto=proto)


def sparse_tensors(proto: onnx.ModelProto) -> list[tuple[str, onnx.SparseTensorProto]]:
    """The sparse constants of the main graph, with their names."""
    named = [(t.values.name, t) for t in proto.graph.sparse_initializer]
    named += [
        (node.output[0], attribute.sparse_tensor)
        for node in proto.graph.node
        for attribute in node.attribute
        if _is_sparse(node, attribute)
    ]
    return named


def _is_sparse(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> bool:
    return node.op_type == "Constant" and attribute.name == "sparse_value"


def _fits(tensor: onnx.SparseTensorProto) -> bool:
    """Whether it is of a type that numpy has, and not too large to be written dense."""
    kind = tensor.values.data_type
    if kind not in onnx.helper.get_all_tensor_dtypes() or kind == onnx.TensorProto.STRING:
        return False
    width = int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
    return 0 <= int(prod(tensor.dims)) * width <= MOST


def _dense(tensor: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """Zeros but for the values, whose places are numbers (n,) in the flat tensor or (n, rank)."""
    shape = tuple(tensor.dims)
    values = onnx.numpy_helper.to_array(tensor.values)
    places = onnx.numpy_helper.to_array(tensor.indices)
    shapes_fit = places.shape in ((values.size,), (values.size, len(shape)))
    bounds = np.array(shape) if places.ndim > 1 else np.array([prod(shape)])
    if not shapes_fit or (places < 0).any() or (places.reshape(-1, len(bounds)) >= bounds).any():
        raise ModelError(
            f"sparse tensor '{name}' of shape {list(shape)} has {values.size} values and places of"
            f" shape {list(places.shape)}, not all of them inside: the file is damaged; check it"
            " with onnx.checker"
        )
    array = np.zeros(shape, dtype=values.dtype)
    if places.ndim > 1:
        array[tuple(places.T)] = values.reshape(-1)
    else:
        array.reshape(-1)[places] = values.reshape(-1)
    return onnx.numpy_helper.from_array(array, name)
