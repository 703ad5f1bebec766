"""Blocks of ops of com.microsoft, as ONNX Runtime's optimizer writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from random_nets import Net
from random_recipes import Block, Kind


def _fused(net: Net, x: str, block: Block) -> str:
    return _WAYS[block.variant % len(_WAYS)](net, x, block)


def _node(net: Net, op: str, inputs: list[str], shape: tuple[int, int], **more: Any) -> str:
    return net.node(op, inputs, shape, domain="com.microsoft", **more)


def _conv(net: Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    wide = net.normal(block.width, n, 3, 3, fan_in=9 * n)
    y = _node(
        net,
        "FusedConv",
        [x, wide, net.normal(block.width, fan_in=25.0)],
        (block.width, side),
        activation="LeakyRelu",
        activation_params=[0.2],
        pads=[1, 1, 1, 1],
    )
    back = net.normal(n, block.width, 1, 1, fan_in=block.width)
    bias = net.normal(n, fan_in=25.0)
    shortcut = [x] if (block.variant // 6) % 5 else []
    return _node(net, "FusedConv", [y, back, bias, *shortcut], (n, side), activation="Tanh")


def _matrices(net: Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    last = net.transpose(x, 0, 2, 3, 1)
    turned = (block.variant // 6) % 5 < 2
    size = (block.width, n) if turned else (n, block.width)
    inner = _node(
        net,
        "FusedMatMul",
        [last, net.normal(*size, fan_in=n)],
        (0, 0),
        transB=int(turned),
        alpha=0.8,
    )
    op = ["BiasGelu", "FastGelu"][(block.variant // 6) % 2]
    inner = _node(net, op, [inner, net.normal(block.width, fan_in=4)], (0, 0))
    outer = net.aside("MatMul", inner, net.normal(block.width, n, fan_in=block.width))
    return net.add(x, net.node("Transpose", [outer], (n, side), perm=[0, 3, 1, 2]))


def _gate(net: Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    means = net.node("Flatten", [net.node("GlobalAveragePool", [x], (n, 1))], (n, 1))
    down = [net.normal(n, block.width, fan_in=n / 16), net.normal(block.width, fan_in=9)]
    inner = _node(net, "FusedGemm", [means, *down], (0, 0), activation="Tanh")
    up = net.normal(n, block.width, fan_in=block.width)
    gate = _node(net, "FusedGemm", [inner, up], (0, 0), activation="Sigmoid", transB=1)
    four = net.node("Reshape", [gate, net.integers(0, -1, 1, 1)], (n, 1))
    return net.node("Mul", [x, four], (n, side))


def _activation(net: Net, x: str, block: Block) -> str:
    x = net.conv(x, block.width)
    op = ["Gelu", "QuickGelu", "FastGelu"][(block.variant // 6) % 3]
    return _node(net, op, [x], net.shapes[x])


def _norm(net: Net, x: str, block: Block) -> str:
    """Over the channels of a mean, which stay."""
    n, side = net.shapes[x]
    rows = net.transpose(net.reduce("ReduceMean", x, [2], keepdims=0), 0, 2, 1)
    scale = [net.normal(n, fan_in=1.0) for _ in range(2)]
    simple = (block.variant // 6) % 2
    op = "SkipSimplifiedLayerNormalization" if simple else "SkipLayerNormalization"
    y = _node(net, op, [rows, rows, *scale[simple:]], (0, 0))
    columns = net.squeeze("Unsqueeze", net.transpose(y, 0, 2, 1), 2)
    return net.node("Add", [x, columns], (n, side))


_WAYS = [_conv, _matrices, _gate, _activation, _norm, _conv]

FUSED: dict[Kind, Callable[[Net, str, Block], str]] = {"fused": _fused}
