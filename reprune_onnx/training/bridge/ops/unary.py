"""One value in, one value out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from reprune_onnx.training.bridge.node import Function, Node

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": F.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": lambda x: F.softplus(x, threshold=50.0),
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
PLAIN = " ".join(_PLAIN)


def without_attributes(node: Node) -> Function:
    """An op without attributes."""
    return _PLAIN[node.op.type]


def clip(node: Node) -> Function:
    """Clip: bounds as attributes before opset 11, then as inputs."""

    def run(x: Tensor, *bounds: Tensor | None) -> Tensor:
        args = (x, *bounds)
        return torch.clamp(x, node.number(args, 1, "min"), node.number(args, 2, "max")).to(x.dtype)

    return run


def dropout(node: Node) -> Function:
    """Dropout: drops in training, whatever the file says, and does nothing else."""
    if node.used_outputs > 1:
        raise node.refuse("the mask as an output")

    def run(x: Tensor, *more: Tensor | None) -> Tensor:
        ratio = node.number((x, *more), 1, "ratio")
        return F.dropout(x, 0.5 if ratio is None else ratio, node.mode.training and node.mode.drops)

    return run


def elu(node: Node) -> Function:
    """Elu."""
    alpha = node.attr("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


def celu(node: Node) -> Function:
    """Celu."""
    alpha = node.attr("alpha", 1.0)
    return lambda x: F.celu(x, alpha)


def selu(node: Node) -> Function:
    """Selu."""
    alpha, gamma = node.attr("alpha", 1.67326319217681884765625), node.attr("gamma", 1.05070102)
    return lambda x: gamma * F.elu(x, alpha)


def gelu(node: Node) -> Function:
    """Gelu."""
    how = node.attr("approximate", "none")
    return lambda x: F.gelu(x, approximate=how)


def swish(node: Node) -> Function:
    """Swish."""
    alpha = node.attr("alpha", 1.0)
    return lambda x: x * torch.sigmoid(alpha * x)


def hard_sigmoid(node: Node) -> Function:
    """HardSigmoid."""
    alpha, beta = node.attr("alpha", 0.2), node.attr("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)


def leaky_relu(node: Node) -> Function:
    """LeakyRelu."""
    alpha = node.attr("alpha", 0.01)
    return lambda x: F.leaky_relu(x, alpha)


def thresholded_relu(node: Node) -> Function:
    """ThresholdedRelu."""
    alpha = node.attr("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))


def shrink(node: Node) -> Function:
    """Shrink."""
    bias, limit = node.attr("bias", 0.0), node.attr("lambd", 0.5)

    def run(x: Tensor) -> Tensor:
        zero = torch.zeros_like(x)
        return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, zero))

    return run


def scaled_tanh(node: Node) -> Function:
    """ScaledTanh."""
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    return lambda x: alpha * torch.tanh(beta * x)


def parametric_softplus(node: Node) -> Function:
    """ParametricSoftplus."""
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    return lambda x: alpha * F.softplus(beta * x, threshold=50.0)


def is_inf(node: Node) -> Function:
    """IsInf, of either sign or both."""
    negative, positive = node.attr("detect_negative", 1), node.attr("detect_positive", 1)

    def run(x: Tensor) -> Tensor:
        infinite = torch.zeros_like(x, dtype=torch.bool)
        if negative:
            infinite = infinite | torch.isneginf(x)
        return infinite | torch.isposinf(x) if positive else infinite

    return run


def affine(node: Node) -> Function:
    """Affine, of before opset 7."""
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 0.0)
    return lambda x: alpha * x + beta


def image_scaler(node: Node) -> Function:
    """ImageScaler: one factor, and a bias per channel."""
    scale, bias = node.attr("scale", 1.0), node.attr("bias") or [0.0]

    def run(x: Tensor) -> Tensor:
        shift = torch.tensor(bias, dtype=x.dtype, device=x.device)
        return x * scale + shift.reshape(-1, *[1] * (x.ndim - 2))

    return run


def prelu(node: Node) -> Function:
    """PRelu: a slope per channel broadcasts as ONNX says, from the last axis."""
    del node
    return lambda x, slope: torch.where(x < 0, x * slope, x)
