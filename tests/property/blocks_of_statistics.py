"""Blocks of normalisation and reduction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto
from random_nets import Net
from random_recipes import BATCH, Block, Kind


def _instance_norm(net: Net, x: str, block: Block) -> str:
    x = net.conv(x, block.width) if block.variant % 2 else x
    parameters = [net.per_channel(x, 0.5, 1.5), net.per_channel(x, -0.5, 0.5)]
    return net.act(net.same("InstanceNormalization", x, *parameters), block.variant // 2)


def _group_norm(net: Net, x: str, block: Block) -> str:
    """As an op, where the opset has it, or as exporters write it with InstanceNormalization."""
    groups, side = 2 + block.variant % 2, net.shapes[x][1]
    n = groups * block.width
    x = net.conv(x, n)
    if net.opset >= 21 and block.variant % 3:
        parameters = [net.constant(net.rng.uniform(0.5, 1.5, n)) for _ in range(2)]
        return net.act(net.same("GroupNormalization", x, *parameters, num_groups=groups), 0)
    flat = net.same("Reshape", x, net.integers(0, groups, -1))
    parameters = [net.constant(np.ones(groups)), net.constant(np.zeros(groups))]
    flat = net.same("InstanceNormalization", flat, *parameters)
    back = [
        net.aside("Shape", x),
        net.integers(0, n, side, side),
        net.vector(net.extent(x, 0), n, -1, side),
    ][block.variant % 3]
    y = net.node("Reshape", [flat, back], (n, side))
    y = net.same("Mul", y, net.per_channel(y, 0.5, 1.5, 1, 1))
    return net.act(net.add(y, net.per_channel(y, -0.5, 0.5, 1, 1)), 0)


def _layer_norm(net: Net, x: str, block: Block) -> str:
    """Over positions, or over channels in channels last; the op or written out."""
    way, (n, side) = block.variant % 4, net.shapes[x]
    if way == 3:
        return net.add(x, net.same("LRN", x, size=3, alpha=0.3))
    last = way == 2
    y = net.transpose(x, 0, 2, 3, 1) if last else x
    extents = (n,) if last else (side, side) if way else (side,)
    scale = net.constant(net.rng.uniform(0.5, 1.5, extents))
    axis = -len(extents)
    if net.opset >= 23 and block.variant % 5 > 2:
        y = net.same("RMSNormalization", y, scale, axis=axis)
    elif net.opset >= 17 and block.variant % 5:
        y = net.same("LayerNormalization", y, scale, axis=axis)
    else:
        axes = [3] if axis == -1 else [2, 3]
        y = net.same("Sub", y, net.reduce("ReduceMean", y, axes))
        square = net.same("Pow", y, net.number(2.0))
        deviation = net.same("Sqrt", net.add(net.reduce("ReduceMean", square, axes), net.number(1)))
        y = net.same("Mul", net.same("Div", y, deviation), scale)
    net.shapes[y] = (n, side)
    y = net.transpose(y, 0, 3, 1, 2) if last else y
    return net.add(y, x)


def _softmax(net: Net, x: str, block: Block) -> str:
    ways: list[tuple[str, dict[str, Any]]] = [
        ("Softmax", {"axis": 3}),
        ("LogSoftmax", {"axis": 2}),
        ("LpNormalization", {"axis": -1}),
        ("MeanVarianceNormalization", {"axes": [2, 3]}),
        ("Hardmax", {"axis": 3}),
        ("Softmax", {"axis": 1}),
    ]
    op, attributes = ways[block.variant % 6]
    if op == "MeanVarianceNormalization" and net.shapes[x][1] == 1:
        op, attributes = ways[0]  # of one number the deviation is 0, and rounding is all there is
    if block.variant % 4:
        x = net.conv(x, block.width)
    y = net.same(op, x, **attributes)
    return net.act(net.add(y, x), 0)


def _selective(net: Net, x: str, block: Block) -> str:
    """Selective kernels: a softmax over two branches chooses between them, channel by channel."""
    n, side = block.width, net.shapes[x][1]
    branches = [net.act(net.conv(x, n, k=k), 0) for k in (1, 3)]
    stacked = net.aside("Concat", *(net.squeeze("Unsqueeze", b, 1) for b in branches), axis=1)
    pooled = net.node("GlobalAveragePool", [net.add(*branches)], (n, 1))
    weights = net.conv(net.act(net.conv(pooled, 3, k=1), 0), 2 * n, k=1)
    batch = BATCH if block.variant % 2 else 0
    weights = net.aside("Reshape", weights, net.integers(batch, 2, n, 1, 1))
    if net.opset < 13:  # there, Softmax flattens from its axis on
        weights = net.transpose(weights, 0, 3, 4, 2, 1)
        weights = net.transpose(net.aside("Softmax", weights, axis=4), 0, 4, 3, 1, 2)
    else:
        weights = net.aside("Softmax", weights, axis=1)
    both = net.aside("Mul", stacked, weights)
    y = net.reduce("ReduceSum", both, [1], keepdims=0)
    net.shapes[y] = (n, side)
    return y


_REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "GlobalLpPool",
    "GlobalMaxPool",
]


def _reduce(net: Net, x: str, block: Block) -> str:
    """A gate made of one number per channel, or a profile along one axis of the image."""
    op = _REDUCTIONS[block.variant % 12]
    if op == "GlobalLpPool" and net.opset >= 22:  # ONNX Runtime has no kernel for it
        op = "GlobalAveragePool"
    way = block.variant // 12
    y = net.positive(x) if op == "ReduceLogSum" else net.bounded(x, 0.5)
    n = net.shapes[x][0]
    if op.startswith("Global"):
        r = net.node(op, [y], (n, 1))
    elif way == 0:
        r = net.reduce(op, y, [2, 3])
    elif way == 1 or op == "ReduceProd":
        r = net.reduce(op, y, [-1])
    elif way == 2:
        r = net.squeeze("Unsqueeze", net.reduce(op, y, [2, 3], keepdims=0), 2, 3)
    elif way == 3:
        r = net.squeeze("Unsqueeze", net.squeeze("Squeeze", net.reduce(op, y, [3]), 3), -1)
    else:  # over channels: a spatial gate
        r = net.reduce(op, y, [1])
    return net.same("Mul", x, net.add(net.same("Sigmoid", r), net.number(0.3)))


def _arg(net: Net, x: str, block: Block) -> str:
    op = ["ArgMax", "ArgMin"][block.variant % 2]
    axis, (n, _) = [3, 2, 1][block.variant % 3], net.shapes[x]
    if block.variant % 4 < 2:
        where = net.node(op, [x], (n, 1), axis=axis, keepdims=1)
    else:
        where = net.node(op, [x], (n, 1), axis=axis, keepdims=0)
        where = net.squeeze("Unsqueeze", where, axis)
    number = net.same("Cast", where, to=TensorProto.FLOAT)
    return net.add(x, net.same("Mul", number, net.number(0.1)))


def _boxes(net: Net, x: str, block: Block) -> str:
    """One box of every image, as a small map."""
    if net.opset >= 22:  # ONNX Runtime has no kernel for it
        return net.conv(x, block.width)
    n, side = net.shapes[x]
    corners = np.array([[0.0, 0.0, 0.5, 0.8], [0.2, 0.1, 0.9, 1.0]], np.float32) * max(side - 1, 1)
    small = 1 + block.variant % 3
    operands = [x, net.constant(corners[:BATCH]), net.constant(np.arange(BATCH))]
    mode = "max" if block.variant % 2 else "avg"
    sides = {"output_height": small, "output_width": small, "sampling_ratio": 1}
    return net.node("RoiAlign", operands, (n, small), mode=mode, **sides)


STATISTICS: dict[Kind, Callable[[Net, str, Block], str]] = {
    "instance-norm": _instance_norm,
    "group-norm": _group_norm,
    "layer-norm": _layer_norm,
    "softmax": _softmax,
    "selective": _selective,
    "reduce": _reduce,
    "arg": _arg,
    "boxes": _boxes,
}
