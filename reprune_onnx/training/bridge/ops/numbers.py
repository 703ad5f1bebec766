"""Numbers that a graph computes from shapes: they stay on the CPU."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from torch import Tensor

from reprune_onnx.analyzer.graph import to_array
from reprune_onnx.training.bridge.node import Function, Node

_INTEGERS = {
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT16: torch.int16,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.BOOL: torch.bool,
}
_FLOATS = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
}


def shape(node: Node) -> Function:
    """Shape, or a part of it since opset 15."""
    start, end = node.attr("start", 0), node.attr("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def size(node: Node) -> Function:
    """Size: the number of elements."""
    del node
    return lambda x: torch.tensor(x.numel(), dtype=torch.int64)


def cast(node: Node) -> Function:
    """Cast; every floating-point type is float32 here."""
    to = node.attr("to")
    if to in _FLOATS:
        return lambda x: x.to(torch.float32)
    if to not in _INTEGERS:
        raise node.refuse(f"a Cast to {onnx.TensorProto.DataType.Name(to)}")
    return lambda x: x.to(_INTEGERS[to])


def cast_like(node: Node) -> Function:
    """CastLike."""
    del node
    return lambda x, like: x.to(like.dtype)


def constant_of_shape(node: Node) -> Function:
    """ConstantOfShape."""
    value = node.attr("value")
    fill = np.zeros(1, np.float32) if value is None else to_array(value)
    kind = torch.float32 if fill.dtype.kind == "f" else torch.from_numpy(fill).dtype

    def run(*args: Tensor | None) -> Tensor:
        return torch.full(node.integers(args, 0) or [], fill.reshape(-1)[0].item(), dtype=kind)

    return run


def range_(node: Node) -> Function:
    """Range."""
    del node

    def run(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)

    return run


def non_zero(node: Node) -> Function:
    """NonZero: indices, one row per axis."""
    del node
    return lambda x: x.nonzero().T
