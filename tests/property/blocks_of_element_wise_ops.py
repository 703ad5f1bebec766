"""Blocks of element-wise ops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto
from random_nets import Net
from random_recipes import Block, Kind

_FREE_DOMAIN = [
    "Abs",
    "Asinh",
    "Atan",
    "Celu:12",
    "Cos",
    "Dropout",
    "Elu",
    "Erf",
    "Gelu:20",
    "HardSigmoid",
    "HardSwish:14",
    "Identity",
    "LeakyRelu",
    "Mish:18",
    "Neg",
    "Relu",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sin",
    "Softplus",
    "Softsign",
    "Swish:24",
    "Tanh",
    "ThresholdedRelu",
    "Ceil",
    "Floor",
    "Round",
    "Sign",
]
_BOUNDED = ["Acos", "Asin", "Atanh", "Cosh", "Exp", "Sinh", "Tan"]
_POSITIVE = ["Log", "Reciprocal", "Sqrt"]
_UNARY = [*_FREE_DOMAIN, *_BOUNDED, *_POSITIVE, "Acosh", "Cast"]
_COARSE = {"Ceil", "Floor", "Round", "Sign", "ThresholdedRelu", "Relu", "Shrink"}


def _unary(net: Net, x: str, block: Block) -> str:
    """Two of the ops with one input, each on values that it is made for."""
    for choice in (block.variant, block.variant + 7 * block.width):
        op, _, since = _UNARY[choice % len(_UNARY)].partition(":")
        if net.opset < int(since or 0):
            op = "Softplus"
        if op == "Cast":
            y = net.same("Cast", x, to=TensorProto.DOUBLE)
            back = net.opset < 15
            y = net.same("Cast", y, to=TensorProto.FLOAT) if back else net.same("CastLike", y, x)
        elif op == "Acosh":
            y = net.same(op, net.positive(x, 1.5))
        elif op in _BOUNDED:
            y = net.same(op, net.bounded(x))
        elif op in _POSITIVE:
            y = net.same(op, net.positive(x, 0.5))
        else:
            y = net.same(op, x)
        x = net.add(y, net.same("Mul", x, net.number(0.5))) if op in _COARSE else y
    return net.norm(x)


def _elementwise(net: Net, x: str, block: Block) -> str:
    """Two activations, or an activation and a constant of some shape that broadcasts."""
    n, side = net.shapes[x]
    ops = [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Max",
        "Min",
        "Mean",
        "Mod",
        "Where",
        "Sum",
        "Greater",
    ]
    op = ops[block.variant % len(ops)]
    shape = [(1, n, 1, 1), (n, 1, 1), (side, side), (n, side, side), ()][block.variant % 5]
    k = net.constant(net.rng.uniform(0.5, 1.5, shape))
    if block.variant >= 45:  # another layer in place of the constant
        k = net.positive(net.conv(x, n, k=1), 0.3)
    flip = block.variant // 12 % 2
    if op == "Pow":
        return net.act(net.node("Pow", [net.positive(net.bounded(x)), k], (n, side)), 0)
    if op == "Mod":
        return net.add(x, net.node("Mod", [x, net.number(2.0)], (n, side), fmod=1))
    if op in ("Where", "Greater"):
        more = ["Greater", "Less"][flip]
        if net.opset >= 12 and op == "Where":
            more += "OrEqual"
        where = net.node(more, [x, k], (n, side))
        return net.add(x, net.node("Where", [where, k, x], (n, side)))
    if op in ("Max", "Min", "Mean"):
        operands = [k, x, net.same("Neg", x)] if flip else [x, k]
        return net.add(x, net.node(op, operands, (n, side)))
    if op == "Div":
        return net.node(op, [x, k], (n, side))
    return net.act(net.node(op, [k, x] if flip else [x, k], (n, side)), 0)


def _logic(net: Net, x: str, block: Block) -> str:
    """Comparisons, truth values and bits, brought back to numbers and added."""
    way, shape = block.variant % 6, net.shapes[x]
    k = net.per_channel(x, -0.5, 0.5, 1, 1)
    a = net.node("Greater", [x, k], shape)
    b = net.node("Less", [net.same("Neg", x), net.number(0.3)], shape)
    if way < 3:
        c = net.node(["And", "Or", "Xor"][way], [a, net.same("Not", b)], shape)
    elif way == 3:
        c = net.node("Equal", [a, b], shape)
    elif way == 4:
        c = net.node("Or", [net.same("IsNaN", x), net.same("IsInf", x)], shape)
        c = net.node("Xor", [c, a], shape)
    elif net.opset >= 18:
        integers = net.same("Cast", net.same("Mul", x, net.number(8.0)), to=TensorProto.INT32)
        bits = net.constant(net.rng.integers(0, 16, (shape[0], 1, 1)).astype(np.int32))
        one = net.node("BitwiseAnd", [integers, bits], shape)
        two = net.node("BitwiseXor", [net.same("BitwiseNot", integers), bits], shape)
        c = net.node("BitwiseOr", [one, two], shape)
        c = net.node("Mod", [c, net.constant(np.array(4, dtype=np.int32))], shape)
    else:
        c = a
    return net.add(x, net.same("Cast", c, to=TensorProto.FLOAT))


ELEMENT_WISE: dict[Kind, Callable[[Net, str, Block], str]] = {
    "unary": _unary,
    "elementwise": _elementwise,
    "logic": _logic,
}
