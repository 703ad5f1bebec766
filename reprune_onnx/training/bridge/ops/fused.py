"""Ops of com.microsoft: what ONNX Runtime's optimizer makes of a few plain ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.training.bridge.node import Function, Node
from reprune_onnx.training.bridge.ops.convolution import conv
from reprune_onnx.training.bridge.ops.linear import gemm

_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "": lambda x: x,
    "Relu": F.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "LeakyRelu": F.leaky_relu,
    "Clip": torch.clamp,
    "HardSigmoid": lambda x, a, b: torch.clamp(a * x + b, 0.0, 1.0),
}
_GELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "BiasGelu": F.gelu,
    "FastGelu": partial(F.gelu, approximate="tanh"),
}
_SUM = 3  # the output of SkipLayerNormalization that is the sum


def fused_conv(node: Node) -> Function:
    """A Conv, to which an input may be added, and an activation."""
    layer, activation = conv(node), _activation(node, node.attr("activation_params", []))

    def run(x: Tensor, w: Tensor, b: Tensor | None = None, other: Tensor | None = None) -> Tensor:
        y = layer(x, w, b)
        return activation(y if other is None else y + other)

    return run


def fused_gemm(node: Node) -> Function:
    """A Gemm and an activation."""
    names = ("activation_alpha", "activation_beta")
    given = [node.attr(name) for name in names if node.attr(name) is not None]
    layer, activation = gemm(node), _activation(node, given)
    return lambda a, b, c=None: activation(layer(a, b, c))


def fused_matmul(node: Node) -> Function:
    """A product of matrices, which may be transposed, times ``alpha``."""
    alpha = node.attr("alpha", 1.0)
    a_turned, b_turned = node.attr("transA", 0), node.attr("transB", 0)
    if node.attr("transBatchA", 0) or node.attr("transBatchB", 0):
        raise node.refuse("batches that are transposed")

    def run(a: Tensor, b: Tensor) -> Tensor:
        a, b = a.mT if a_turned else a, b.mT if b_turned else b
        return alpha * (a @ b)

    return run


def biased(node: Node) -> Function:
    """A bias along the last axis, where one is given, before a Gelu."""
    function = _GELUS[node.op.type]

    def run(x: Tensor, *added: Tensor | None) -> Tensor:
        return function(sum((y for y in added if y is not None), x))

    return run


def quick_gelu(node: Node) -> Function:
    """x · sigmoid(alpha · x)."""
    alpha = node.attr("alpha", 1.702)
    return lambda x: x * torch.sigmoid(alpha * x)


def skip_layer_norm(node: Node) -> Function:
    """The sum of two inputs and a bias, and the LayerNormalization or RMSNormalization of it."""
    eps, simple = node.attr("epsilon", 1e-12), node.op.type.startswith("SkipSimplified")

    def run(x: Tensor, skip: Tensor, w: Tensor, *more: Tensor | None) -> tuple[Tensor | None, ...]:
        shift, bias = (None, *more, None)[:2] if simple else (*more, None, None)[:2]
        total = x + skip if bias is None else x + skip + bias
        mean = torch.zeros_like(total[..., :1]) if simple else total.mean(-1, keepdim=True)
        inverse = torch.rsqrt(((total - mean) ** 2).mean(-1, keepdim=True) + eps)
        y = (total - mean) * inverse * w
        outputs = (y if shift is None else y + shift, mean, inverse, total)
        return outputs[: _SUM + 1]

    return run


def _activation(node: Node, parameters: list[float]) -> Callable[[Tensor], Tensor]:
    name = node.attr("activation", "")
    if name not in _ACTIVATIONS:
        raise node.refuse(f"the activation {name}")
    function = _ACTIVATIONS[name]
    return lambda x: function(x, *parameters)
