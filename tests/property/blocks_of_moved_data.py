"""Blocks that move data, and one that works across the channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from random_nets import Net
from random_recipes import BATCH, SIDE, Block, Kind


def _blocks_of_depth(net: Net, x: str, block: Block) -> str:
    way, side = block.variant % 5, net.shapes[x][1]
    if way < 3 and side <= SIDE:
        n = block.width
        x = net.conv(x, 4 * n, k=1)
        shape = (n, 2 * side)
        if way < 2:
            mode = ["DCR", "CRD"][way]
            return net.node("DepthToSpace", [x], shape, blocksize=2, mode=mode)
        six = net.aside("Reshape", x, net.integers(BATCH, n, 2, 2, side, side))
        six = net.transpose(six, 0, 1, 4, 2, 5, 3)
        return net.node("Reshape", [six, net.integers(0, -1, 2 * side, 2 * side)], shape)
    if side < 4:
        return x
    x = net.conv(x, block.width, k=1) if block.variant % 2 else x
    y = net.node("SpaceToDepth", [x], (4 * net.shapes[x][0], side // 2), blocksize=2)
    return net.conv(y, 5, k=1)


def _tile(net: Net, x: str, block: Block) -> str:
    way = block.variant % 3
    if way == 0:  # channels
        x = net.conv(x, block.width, k=1)
        y = net.same("Tile", x, net.integers(1, 2, 1, 1))
        net.shapes[y] = (2 * block.width, net.shapes[x][1])
        return y
    n, side = net.shapes[x]
    if way == 1 and side <= SIDE:
        return net.node("Tile", [x, net.integers(1, 1, 2, 2)], (n, 2 * side))
    pooled = net.node("GlobalAveragePool", [x], (n, 1))
    return net.add(x, net.node("Tile", [pooled, net.integers(1, 1, side, side)], (n, side)))


def _expand(net: Net, x: str, block: Block) -> str:
    way, (n, side) = block.variant % 5, net.shapes[x]
    pooled = net.node("GlobalMaxPool", [x], (n, 1))
    if way == 4:  # one map for all channels
        pooled = net.same("Sigmoid", net.conv(x, 1, k=1))
    shape = [
        lambda: net.integers(BATCH, n, side, side),
        lambda: net.integers(1, 1, side, side),
        lambda: net.aside("Shape", x),
        lambda: net.vector(net.extent(x, 0), n, side, net.extent(x, 3)),
        lambda: net.aside("Shape", x),
    ][way]()
    wide = net.node("Expand", [pooled, shape], (n, side))
    return net.same("Mul", x, wide) if way == 4 else net.concat([net.conv(x, 2), wide])


def _gather(net: Net, x: str, block: Block) -> str:
    way, n = block.variant % 5, 2 * block.width
    x = net.act(net.conv(x, n), 0)
    side = net.shapes[x][1]
    if way == 0:
        index = net.integers(*net.rng.integers(-n, n, 3).tolist())
        return net.concat([x, net.node("Gather", [x, index], (3, side), axis=1)])
    if way == 1:
        index = net.constant(np.array(block.width, dtype=np.int64))
        one = net.squeeze("Unsqueeze", net.aside("Gather", x, index, axis=1), 1)
        net.shapes[one] = (1, side)
        return net.concat([x, one])
    if way == 2:
        index = net.integers(*net.rng.permutation(side).tolist())
        return net.same("Gather", x, index, axis=2)
    if way == 3:
        index = net.integers(*net.rng.permutation(n).tolist())
        return net.act(net.same("Gather", x, index, axis=1), 0)
    five = net.aside("Reshape", x, net.integers(0, 2, n // 2, side, side))
    halves = []
    for k in (1, 0):
        half = net.aside("Gather", five, net.constant(np.array(k, dtype=np.int64)), axis=1)
        net.shapes[half] = (n // 2, side)
        halves.append(half)
    return net.concat([net.act(halves[0], 0), net.conv(halves[1], 3)])


def _slice(net: Net, x: str, block: Block) -> str:
    way, (n, side) = block.variant % 6, net.shapes[x]

    def cut(axis: int, start: int, end: int, step: int = 1) -> str:
        extent = net.shapes[x][0] if axis == 1 else side
        length = len(range(*slice(start, end, step).indices(extent)))
        bounds = [net.integers(v) for v in (start, end, axis)]
        bounds += [net.integers(step)] if step != 1 or block.variant % 2 else []
        shape = (length, side) if axis == 1 else (n, length)
        return net.node("Slice", [x, *bounds], shape)

    if way == 0 and side >= 4:  # Focus
        parts = []
        for k in range(4):
            bounds = [net.integers(*v) for v in ([k // 2, k % 2], [side, side], [2, 3], [2, 2])]
            parts.append(net.node("Slice", [x, *bounds], (n, side // 2)))
        return net.conv(net.concat(parts), block.width)
    if way == 1:
        return net.concat([cut(1, n // 2, 2**63 - 1), cut(1, 0, n // 2)])
    if way == 2:
        return net.concat([cut(1, 1, n), cut(1, -(n // 2), 2**63 - 1)])
    if way == 3:  # a stretch in the middle, alone
        x = net.conv(x, block.width + 2)
        return cut(1, 1, block.width + 1)
    if way == 4 and block.variant % 4:
        return net.concat([x, cut(1, 0, n, 2)])
    if way == 5:
        return net.act(cut(1, -1, -n - 1, -1), 0)
    return net.same(
        "Slice", x, net.integers(-1), net.integers(-100), net.integers(3), net.integers(-1)
    )


def _pad(net: Net, x: str, block: Block) -> str:
    way, (n, side) = block.variant % 5, net.shapes[x]
    if way < 3:
        more = {"mode": ["constant", "reflect", "edge"][way if side > 1 else 0]}
        if net.opset >= 18 and block.variant % 2:
            inputs = [x, net.integers(1, 1, 1, 1), "", net.integers(2, 3)]
        else:
            inputs = [x, net.integers(0, 0, 1, 1, 0, 0, 1, 1)]
        padded = net.node("Pad", inputs, (n, side + 2), **more)
        bounds = [net.integers(v, v) for v in (1, side + 1)]
        return net.node("Slice", [padded, *bounds, net.integers(2, 3)], (n, side))
    if way == 3 and side >= 4:  # the shortcut of option A
        half = side // 2
        bounds = [net.integers(*v) for v in ([0, 0], [side, side], [2, 3], [2, 2])]
        x2 = net.node("Slice", [x, *bounds], (n, half))
        short = net.node("Pad", [x2, net.integers(0, 1, 0, 0, 0, 2, 0, 0)], (n + 3, half))
        outer = net.conv(net.act(net.conv(x, block.width, stride=2), 0), n + 3)
        return net.act(net.add(outer, short), 0)
    return net.node("Pad", [x, net.integers(0, 2, 0, 0, 0, 1, 0, 0)], (n + 3, side))


def _resize(net: Net, x: str, block: Block) -> str:
    way, (n, side) = block.variant % 5, net.shapes[x]
    if side > SIDE:
        return net.act(x, block.variant)
    scales = np.array([1, 1, 2, 2])
    mode = ["nearest", "linear"][block.variant % 2]
    empty = [net.constant(np.zeros(0)) if net.opset < 13 else "" for _ in range(2)]
    shape = (n, 2 * side)
    if way < 2:
        return net.node("Resize", [x, empty[0], net.constant(scales * 1.0)], shape, mode=mode)
    if way == 2:
        sizes = net.integers(BATCH, n, 2 * side, 2 * side)
    elif way == 3:
        start = net.aside("Slice", net.aside("Shape", x), net.integers(0), net.integers(2))
        sizes = net.aside("Concat", start, net.integers(2 * side, 2 * side), axis=0)
    else:
        two = net.constant(np.array(2, dtype=np.int64))
        high, wide = (net.aside("Mul", net.extent(x, a), two) for a in (2, 3))
        sizes = net.vector(net.extent(x, 0), n, high, wide)
    return net.node("Resize", [x, *empty, sizes], shape, mode=mode)


def _channels_last(net: Net, x: str, block: Block) -> str:
    """A stretch of the network as TensorFlow writes it."""
    way, (n, side) = block.variant % 4, net.shapes[x]
    y, m = net.transpose(x, 0, 2, 3, 1), n
    if way == 0:
        m = block.width
        weight = net.normal(n, m, fan_in=n)
        if block.variant % 3 or net.opset < 12:
            y = net.same("MatMul", y, weight)
        else:
            y = net.aside("Einsum", y, weight, equation="bhwc,cd->bhwd")
        y = net.add(y, net.constant(net.rng.uniform(-0.5, 0.5, m)))
    elif way == 1:
        m = block.width
        y = net.same("MatMul", y, net.normal(n, 2 * m, fan_in=n))
        shapes = [(m, side), (m, side)]
        if net.opset >= 18:
            left, right = net.nodes_out("Split", [y], shapes, axis=-1, num_outputs=2)
        else:
            left, right = net.nodes_out("Split", [y], shapes, axis=-1)
        y = net.same("Mul", left, net.same("Sigmoid", right))
    elif way == 2:
        m = n + block.width
        other = net.same("MatMul", y, net.normal(n, block.width, fan_in=n))
        y = net.aside("Concat", y, net.same("Tanh", other), axis=3)
    else:
        y = net.same("Mul", y, net.constant(net.rng.uniform(0.5, 1.5, n)))
        y = net.act(y, 0)
    y = net.transpose(y, 0, 3, 1, 2)
    net.shapes[y] = (m, side)
    return y


def _computed_shape(net: Net, x: str, block: Block) -> str:
    """To (batch, channels, positions) and back, by sizes that the graph reads off itself."""
    way, (n, side) = block.variant % 5, net.shapes[x]
    x = net.conv(x, n) if block.variant % 2 else x
    if block.variant % 4 == 3:  # to (batch, channels times rows, columns) and back
        rows = net.aside("Mul", net.extent(x, 1), net.extent(x, 2))
        flat = net.vector(net.extent(x, 0), rows, net.extent(x, 3))
        y = net.aside("Tanh", net.aside("Reshape", x, flat))
        return net.add(net.node("Reshape", [y, net.aside("Shape", x)], (n, side)), x)
    if way == 0:
        flat = net.vector(net.extent(x, 0), net.extent(x, 1), -1)
    elif way == 1:
        positions = net.aside("Mul", net.extent(x, 2), net.extent(x, 3))
        flat = net.vector(net.extent(x, 0), -1, positions)
    elif way == 2:
        flat = net.vector(net.extent(x, 0), n, side * side)
    elif way == 3:
        start = net.aside("Slice", net.aside("Shape", x), net.integers(0), net.integers(2))
        flat = net.aside("Concat", start, net.integers(-1), axis=0)
    else:
        flat = net.integers(0, 0, -1)
    y = net.same("Reshape", x, flat)
    y = net.same("MatMul", y, net.normal(side * side, side * side, fan_in=side * side))
    if block.variant % 3 == 0:
        back = net.aside("Shape", x)
    elif block.variant % 3 == 1:
        back = net.vector(net.extent(x, 0), net.extent(x, 1), net.extent(x, 2), -1)
    else:
        back = net.integers(0, -1, side, side)
    return net.add(net.node("Reshape", [y, back], (n, side)), x)


def _chunk(net: Net, x: str, block: Block) -> str:
    """torch.chunk by TorchScript: slices whose bounds are computed of the number of channels."""
    n = 2 * block.width - block.variant % 2
    x = net.act(net.conv(x, n), 0)
    side, one = net.shapes[x][1], net.integers(1)
    extent = net.aside("Gather", net.aside("Shape", x), net.integers(1), axis=0)
    half = net.aside("Div", net.add(extent, one), net.integers(2))
    doubled = net.aside("Mul", half, net.integers(2))
    middle = -(-n // 2)
    left = net.node("Slice", [x, net.integers(0), half, one], (middle, side))
    right = net.node("Slice", [x, half, doubled, one], (n - middle, side))
    left = net.act(net.conv(left, 3), 0) if block.variant % 4 < 2 else left
    return net.concat([right, left])


def _locked(net: Net, x: str, block: Block) -> str:
    """What works across the channels: they stay, and everything else can still be pruned."""
    way = block.variant % 4
    x = net.conv(x, block.width)
    n, side = net.shapes[x]
    if way == 0:  # attention between positions
        flat = net.aside("Reshape", x, net.integers(0, n, side * side))
        scores = net.aside("MatMul", net.transpose(flat, 0, 2, 1), flat)
        scores = net.aside("Softmax", net.same("Mul", scores, net.number(0.3)), axis=2)
        flat = net.aside("MatMul", flat, scores)
        y = net.node("Reshape", [flat, net.integers(0, n, side, side)], (n, side))
    elif way == 1:
        y = net.same("CumSum", x, net.constant(np.array(1, dtype=np.int64)))
    elif way == 2:  # the dot product of two layers
        y = net.reduce("ReduceSum", net.same("Mul", x, net.conv(x, n)), [1])
        y = net.same("Mul", x, net.same("Sigmoid", y))
    else:  # as the channels of two images in one
        y = net.aside("Reshape", x, net.integers(1, BATCH * n, side, side))
        y = net.node(
            "Reshape", [net.same("Tanh", y), net.integers(BATCH, n, side, side)], (n, side)
        )
    return net.conv(net.add(y, x), 4, k=1)


MOVED_DATA: dict[Kind, Callable[[Net, str, Block], str]] = {
    "blocks-of-depth": _blocks_of_depth,
    "tile": _tile,
    "expand": _expand,
    "gather": _gather,
    "slice": _slice,
    "pad": _pad,
    "resize": _resize,
    "channels-last": _channels_last,
    "computed-shape": _computed_shape,
    "chunk": _chunk,
    "locked": _locked,
}
