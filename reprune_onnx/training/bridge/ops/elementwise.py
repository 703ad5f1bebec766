"""Two or more values in, one out, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from reprune_onnx.training.bridge.node import Function, Node

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Sum": torch.add,
    "Xor": torch.logical_xor,
}
BINARY = " ".join(_BINARY)


def together(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tensors on one device: numbers computed from shapes are on the CPU."""
    device = next((t.device for t in tensors if t.device.type != "cpu"), None)
    return tensors if device is None else tuple(t.to(device) for t in tensors)


def binary(node: Node) -> Function:
    """An op of two values, or of many by folding."""
    function = _BINARY[node.op.type]

    def run(*tensors: Tensor) -> Tensor:
        return reduce(function, together(tensors))

    return run


def mean(node: Node) -> Function:
    """Mean of several tensors."""
    del node
    return lambda *tensors: reduce(torch.add, together(tensors)) / len(tensors)


def div(node: Node) -> Function:
    """Div; integers are truncated."""
    del node

    def run(a: Tensor, b: Tensor) -> Tensor:
        a, b = together((a, b))
        return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")

    return run


def mod(node: Node) -> Function:
    """Mod, with the divisor's sign, or with the dividend's (fmod)."""
    function = torch.fmod if node.attr("fmod", 0) else torch.remainder
    return lambda a, b: function(*together((a, b)))


def power(node: Node) -> Function:
    """Pow, in the type of the base."""
    del node

    def run(a: Tensor, b: Tensor) -> Tensor:
        base, exponent = together((a, b))
        return torch.pow(base, exponent).to(base.dtype)

    return run


def where(node: Node) -> Function:
    """Where."""
    del node
    return lambda *tensors: torch.where(*together(tensors))
