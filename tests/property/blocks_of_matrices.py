"""Blocks of dense and of recurrent layers."""

from __future__ import annotations

from collections.abc import Callable

from random_nets import Net
from random_recipes import BATCH, Block, Kind

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _recurrent(net: Net, x: str, block: Block) -> str:
    """Columns of the image are steps; what is made of them is added to every row, or gates it."""
    op = list(_GATES)[block.variant % 3]
    n = net.shapes[x][0]
    rows = net.reduce("ReduceMean", x, [2], keepdims=0)
    steps = net.transpose(rows, 2, 0, 1)
    hidden, directions = block.width, 2 if block.variant % 4 == 1 else 1
    y = _layer(net, op, (steps, n), (hidden, directions), block)
    if block.variant % 5 == 4:  # a second one reads the first
        y = _layer(net, op, (y, hidden * directions), (hidden, 1), block)
        directions = 1
    wide = hidden * directions
    if block.variant % 2:
        y = net.act(net.aside("MatMul", y, net.normal(wide, 5, fan_in=wide)), 0)
        wide = 5
    columns = net.squeeze("Unsqueeze", net.transpose(y, 1, 2, 0), 2)
    image = net.conv(x, wide, k=1)
    return net.act(net.same("Add" if block.variant % 3 else "Mul", image, columns), 0)


def _layer(net: Net, op: str, given: tuple[str, int], made: tuple[int, int], block: Block) -> str:
    """(steps, batch, inputs) as (steps, batch, directions times hidden units)."""
    (x, n_in), (n, directions), gates = given, made, _GATES[op]
    inputs = [
        x,
        net.normal(directions, gates * n, n_in, fan_in=n_in),
        net.normal(directions, gates * n, n, fan_in=n),
    ]
    inputs.append(net.normal(directions, 2 * gates * n, fan_in=9) if block.variant % 2 else "")
    if block.variant % 3 == 0 and not net.recipe.symbolic:
        inputs += ["", net.normal(directions, BATCH, n, fan_in=4)]
        if op == "LSTM":
            inputs.append(net.normal(directions, BATCH, n, fan_in=4))
            if block.variant % 2:
                inputs.append(net.normal(directions, 3 * n, fan_in=9))
    while not inputs[-1]:
        inputs.pop()
    way = "bidirectional" if directions == 2 else ["forward", "reverse"][block.variant // 4 % 2]
    more = {"linear_before_reset": 1} if op == "GRU" and block.variant % 4 == 2 else {}
    y = net.aside(op, *inputs, hidden_size=n, direction=way, **more)
    if directions == 1:
        return net.squeeze("Squeeze", y, 1)
    both = net.transpose(y, 0, 2, 1, 3)
    return net.aside("Reshape", both, net.integers(0, 0, [-1, 2 * n][block.variant // 6 % 2]))


def _dense(net: Net, x: str, block: Block) -> str:
    """A perceptron over the channels: at every position, or of their means, as a gate."""
    way, (n, side) = block.variant % 4, net.shapes[x]
    last = net.transpose(x, 0, 2, 3, 1)
    if way < 2:
        inner = net.aside("MatMul", last, net.normal(n, block.width, fan_in=n))
        inner = net.aside("Add", inner, net.normal(block.width, fan_in=25.0))
        inner = net.aside("LeakyRelu", inner, alpha=0.2)
        outer = net.aside("MatMul", inner, net.normal(block.width, n, fan_in=block.width))
        y = net.node("Transpose", [outer], (n, side), perm=[0, 3, 1, 2])
        return net.add(x, y) if way else y
    means = net.node("Flatten", [net.node("GlobalAveragePool", [x], (n, 1))], (n, 1))
    down = net.normal(*((block.width, n) if way == 2 else (n, block.width)), fan_in=n / 16)
    inner = net.node("Gemm", [means, down], (block.width, 1), transB=int(way == 2))
    inner = net.same("LeakyRelu", inner, alpha=0.2)
    up = net.normal(block.width, n, fan_in=block.width)
    gate = net.node("Gemm", [inner, up, net.normal(n, fan_in=4)], (n, 1), alpha=0.7, beta=1.3)
    four = net.node("Reshape", [gate, net.integers(0, -1, 1, 1)], (n, 1))
    return net.node("Mul", [x, net.same("Sigmoid", four)], (n, side))


MATRICES: dict[Kind, Callable[[Net, str, Block], str]] = {
    "recurrent": _recurrent,
    "dense": _dense,
}
