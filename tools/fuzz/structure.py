"""Changes to what an ONNX file computes, by which it mostly stays a model in order.

Attributes, extents, whole-number constants and element-wise ops are changed within their kind: the
weights stay, and no longer fit the graph that their exporter wrote.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import onnx
from onnx import AttributeProto, numpy_helper

SMALL = (-2, -1, 0, 1, 2, 3, 4, 7)
OTHER_OPS = (
    ("Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Neg", "Abs", "Identity", "Softmax"),
    ("Add", "Mul", "Sub", "Div", "Max"),
    ("MaxPool", "AveragePool"),
    ("GlobalAveragePool", "GlobalMaxPool"),
    ("ReduceMean", "ReduceMax", "ReduceL2"),
)


def structure(
    data: bytes, rng: random.Random, seeds: Sequence[bytes], flip: Callable[[bytes, int], bytes]
) -> bytes:
    """Change one to three facts of an ONNX file."""
    del seeds, flip  # what the changes of other kinds start from
    proto = onnx.ModelProto()
    proto.ParseFromString(data)
    for _ in range(rng.randint(1, 3)):
        rng.choice((_attribute, _attribute, _operation, _wiring, _extent, _constant))(proto, rng)
    return proto.SerializeToString()


def _attribute(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice([n for n in proto.graph.node if n.attribute])
    attribute = rng.choice(node.attribute)
    if rng.random() < 0.1:
        node.attribute.remove(attribute)
    elif attribute.type == AttributeProto.INT:
        attribute.i = _near(attribute.i, rng)
    elif attribute.type == AttributeProto.INTS and attribute.ints:
        at = rng.randrange(len(attribute.ints))
        attribute.ints[at] = _near(attribute.ints[at], rng)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice((0.0, -1.0, 0.5, 2 * attribute.f, float("inf")))


def _operation(proto: onnx.ModelProto, rng: random.Random) -> None:
    of = {op: kind for kind in OTHER_OPS for op in kind}
    nodes = [n for n in proto.graph.node if n.op_type in of]
    if nodes:
        node = rng.choice(nodes)
        node.op_type = rng.choice(of[node.op_type])


def _wiring(proto: onnx.ModelProto, rng: random.Random) -> None:
    """A node reads what another one before it reads or makes."""
    at = rng.randrange(1, len(proto.graph.node))
    node = proto.graph.node[at]
    before = proto.graph.node[max(0, at - rng.randint(1, 8))]
    tensors = [*before.output, *before.input[:1]]
    if node.input:
        node.input[0] = rng.choice(tensors)


def _extent(proto: onnx.ModelProto, rng: random.Random) -> None:
    values = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    dims = [d for v in values for d in v.type.tensor_type.shape.dim]
    dims += [d for v in proto.graph.input for d in v.type.tensor_type.shape.dim]
    dim = rng.choice(dims)
    if rng.random() < 0.3:
        dim.dim_param = rng.choice(("n", "h", "batch"))
    else:
        dim.dim_value = _near(dim.dim_value, rng)


def _constant(proto: onnx.ModelProto, rng: random.Random) -> None:
    """The numbers of a Reshape, a Slice, a Split or a Pad."""
    tensors = [*proto.graph.initializer]
    tensors += [a.t for n in proto.graph.node if n.op_type == "Constant" for a in n.attribute]
    integers = [t for t in tensors if t.data_type == onnx.TensorProto.INT64]
    array = None
    if integers:
        tensor = rng.choice(integers)
        array = numpy_helper.to_array(tensor).copy()
    if array is not None and array.size:
        at = rng.randrange(array.size)
        array.flat[at] = _near(int(array.flat[at]), rng)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _near(value: int, rng: random.Random) -> int:
    near = rng.choice((*SMALL, value + 1, value - 1, 2 * value, value // 2))
    return min(max(near, -(2**63)), 2**63 - 1)
