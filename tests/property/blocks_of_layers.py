"""Blocks of convolutions, and of what is built around them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto
from random_nets import Net
from random_recipes import BATCH, SIDE, Block, Kind


def _residual(net: Net, x: str, block: Block) -> str:
    n, _ = net.shapes[x]
    inner = net.conv(x, block.width)
    inner = net.act(net.norm(inner) if block.variant % 2 else inner, block.variant)
    outer = net.conv(inner, n)
    ways = [("Add", [outer, x]), ("Add", [x, outer]), ("Sub", [x, outer]), ("Sum", [outer, x, x])]
    op, operands = ways[block.variant // 4 % 4]
    return net.act(net.node(op, operands, net.shapes[x]), 0)


def _projected(net: Net, x: str, block: Block) -> str:
    stride = 2 if net.shapes[x][1] >= 4 and block.variant % 2 else 1
    inner = net.act(net.norm(net.conv(x, block.width, stride=stride)), block.variant)
    outer = net.norm(net.conv(inner, block.width + 1))
    short = net.conv(x, block.width + 1, k=1, stride=stride)
    return net.act(net.add(outer, short), 0)


def _concat(net: Net, x: str, block: Block) -> str:
    parts = [net.conv(x, block.width, k=1), net.act(net.conv(x, 3), block.variant)]
    if block.variant % 4 == 1:
        parts.append(x)
    if block.variant % 4 == 2:  # a constant beside the channels
        side = net.shapes[x][1]
        table = net.normal(BATCH, 2, side, side, fan_in=4.0)
        net.shapes[table] = (2, side)
        parts.insert(block.variant % 3, table)
    return net.concat(parts)


def _split(net: Net, x: str, block: Block) -> str:
    way, n = block.variant % 6, 2 * block.width
    activation = net.act(net.conv(x, n), 0)
    if way == 4:
        parts = net.split(net.act(net.conv(x, 3 * block.width), 0), [block.width] * 3, False)
        parts[1] = net.conv(parts[1], 2)
    elif way == 5 and net.opset >= 18:  # the last part is smaller
        part, side = -(-n // 3), net.shapes[activation][1]
        shapes = [(part, side), (part, side), (n - 2 * part, side)]
        if shapes[2][0] < 1:
            return activation
        parts = net.nodes_out("Split", [activation], shapes, axis=1, num_outputs=3)[::-1]
    else:
        sizes = [n // 2, n // 2] if way < 2 else [n - 1, 1]
        left, right = net.split(activation, sizes, written=way == 1)
        left = net.act(net.conv(left, 3), 0)
        parts = [right, left] if way == 3 else [left, right]
    return net.concat(parts)


def _depthwise(net: Net, x: str, block: Block) -> str:
    n = block.width
    wide = net.act(net.norm(net.conv(x, n, k=1)), block.variant)
    times = 2 if block.variant % 4 == 1 else 1
    deep = net.act(net.conv(wide, n * times, group=n), 0)
    return net.conv(deep, 4, k=1)


def _grouped(net: Net, x: str, block: Block) -> str:
    groups = 3 if block.variant % 4 == 2 else 2
    wide = net.act(net.conv(x, groups * block.width, k=1), 0)
    n = groups * (1 + block.variant % 4)
    return net.act(net.conv(wide, n, group=groups), block.variant // 4)


def _squeeze_excite(net: Net, x: str, block: Block) -> str:
    n, _ = net.shapes[x]
    x = net.conv(x, n) if block.variant % 2 else x
    if block.variant % 4 < 2:
        pooled = net.node("GlobalAveragePool", [x], (n, 1))
    else:
        pooled = net.reduce("ReduceMean", x, [2, 3])
    down = net.normal(block.width, n, 1, 1, fan_in=n / 16)  # means over positions are small
    inner = net.act(net.node("Conv", [pooled, down], (block.width, 1)), 0)
    gate = net.same("Sigmoid", net.conv(inner, n, k=1))
    return net.same("Mul", x, gate)


def _pool(net: Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    op = ["MaxPool", "AveragePool", "LpPool"][block.variant % 3]
    if side >= 4:
        return net.node(op, [x], (n, side // 2), kernel_shape=[2, 2], strides=[2, 2])
    op = "AveragePool" if op == "LpPool" else op
    return net.node(op, [x], (n, side), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _norm(net: Net, x: str, block: Block) -> str:
    x = net.conv(x, block.width, k=1) if block.width % 2 else x
    return net.act(net.norm(x), block.variant)


def _shuffle(net: Net, x: str, block: Block) -> str:
    """(2 groups, n/2) are transposed to (n/2, 2 groups)."""
    way, n, side = block.variant % 4, 2 * block.width, net.shapes[x][1]
    x = net.act(net.conv(x, n), 0)
    if way < 2:
        x = net.conv(x, n, k=1, group=2)
    shape = net.integers(BATCH if way % 2 else 0, 2, n // 2, side, side)
    five = net.transpose(net.same("Reshape", x, shape), 0, 2, 1, 3, 4)
    back = net.integers(BATCH, -1 if way == 3 else n, side, side)
    shuffled = net.same("Reshape", five, back)
    if block.variant % 5 == 4:
        return net.conv(net.act(net.conv(shuffled, n, group=2), 0), 4, k=1)
    return net.conv(shuffled, 4)


def _transposed(net: Net, x: str, block: Block) -> str:
    """ConvTranspose: dense, in two groups, or depthwise; twice the side where it is small."""
    group = [1, 2, 2 * block.width][block.variant % 3]
    x = net.act(net.conv(x, 2 * block.width, k=1), 0)
    n, side = net.shapes[x]
    per_group = 1 if group == n else block.width
    k, stride = (2, 2) if side <= SIDE else (1, 1)
    weight = net.normal(n, per_group, k, k, fan_in=n / group)
    bias = [net.normal(per_group * group, fan_in=25.0)] if block.variant % 2 else []
    shape = (per_group * group, stride * side)
    inputs = [x, weight, *bias]
    up = net.node(
        "ConvTranspose", inputs, shape, kernel_shape=[k, k], strides=[stride] * 2, group=group
    )
    return net.conv(net.act(up, 0), block.width, k=1)


def _shared_weight(net: Net, x: str, block: Block) -> str:
    """One weight, or one bias, or one normalisation, in two layers, by its name or by Identity."""
    way, n = block.variant % 4, net.shapes[x][0]
    copies = block.variant // 4 % 3

    def again(name: str) -> str:
        for _ in range(copies):
            name = net.aside("Identity", name)
        return name

    if way == 0:  # a recurrent layer, unrolled
        weight = net.normal(n, n, 3, 3, fan_in=9 * n)
        first = net.act(net.conv_with(x, weight, (n, 3)), 0)
        return net.conv_with(first, again(weight), (n, 3))
    if way == 1:  # two branches with one weight
        weight = net.normal(block.width, n, 1, 1, fan_in=n)
        a = net.conv_with(x, weight, (block.width, 1))
        b = net.conv_with(net.act(net.conv(x, n), 0), again(weight), (block.width, 1))
        return net.concat([a, b])
    a, b = net.conv(x, block.width), net.conv(x, block.width, k=1)
    if way == 2:  # one scale for two convolutions that are not tied
        scale = net.per_channel(a, 0.5, 1.5, 1, 1)
        return net.concat([net.same("Mul", a, scale), net.same("Mul", b, again(scale))])
    scale, mean = net.per_channel(a, 0.5, 1.5), net.per_channel(a, -0.2, 0.2)
    a = net.same("BatchNormalization", a, scale, mean, mean, scale)
    b = net.same("BatchNormalization", b, *(again(p) for p in (scale, mean, mean, scale)))
    return net.concat([a, net.act(b, 0)])


def _made_weight(net: Net, x: str, block: Block) -> str:
    """A weight that the graph computes of constants."""
    way, n_in, n = block.variant % 5, net.shapes[x][0], block.width
    if way == 1:
        weight = net.transpose(net.normal(3, 3, n_in, n, fan_in=9 * n_in), 3, 2, 0, 1)
        return net.conv_with(x, weight, (n, 3))
    if way == 2:
        array = net.rng.standard_normal((n, n_in, 3, 3)) / np.sqrt(9 * n_in)
        half = net.constant(array.astype(np.float16))
        if net.opset >= 15:
            return net.conv_with(x, net.aside("CastLike", half, x), (n, 3))
        weight = net.aside("Cast", half, to=TensorProto.FLOAT)
        return net.conv_with(x, weight, (n, 3))
    weight = net.normal(n, n_in, 3, 3, fan_in=9 * n_in)
    if way == 3:  # weight standardisation
        weight = net.aside("Sub", weight, net.reduce("ReduceMean", weight, [1, 2, 3]))
    elif way == 4:
        gain = net.constant(net.rng.uniform(0.5, 1.5, (n, 1, 1, 1)))
        weight = net.aside("Mul", weight, gain)
    else:
        weight = net.aside("Identity", weight)
    return net.conv_with(x, weight, (n, 3))


LAYERS: dict[Kind, Callable[[Net, str, Block], str]] = {
    "residual": _residual,
    "projected": _projected,
    "concat": _concat,
    "split": _split,
    "depthwise": _depthwise,
    "grouped": _grouped,
    "squeeze-excite": _squeeze_excite,
    "pool": _pool,
    "norm": _norm,
    "shuffle": _shuffle,
    "transposed": _transposed,
    "shared-weight": _shared_weight,
    "made-weight": _made_weight,
}
