"""Blocks that read inputs of their own: another image, and lengths, as whole numbers."""

from __future__ import annotations

from collections.abc import Callable

from onnx import TensorProto
from random_nets import Net
from random_recipes import SIDE, Block, Kind


def _second_image(net: Net, x: str, block: Block) -> str:
    """It has the first one's symbols: they are the same extents."""
    z = net.input("z", TensorProto.FLOAT, "n", 3, "h", "w")
    n, side = net.shapes[x]
    way = block.variant % 3
    other = net.act(net.conv(z, n if way < 2 else block.width), block.variant)
    if side != SIDE:
        other = net.node("GlobalAveragePool", [other], (net.shapes[other][0], 1))
        if way == 2:
            return net.same("Mul", x, net.same("Sigmoid", net.conv(other, n, k=1)))
    return net.concat([x, other]) if way == 2 else net.same(["Add", "Mul"][way], x, other)


def _lengths(net: Net, x: str, block: Block) -> str:
    """Columns beyond an image's length are zero, or no steps of a recurrent layer."""
    kind = [TensorProto.INT64, TensorProto.INT32][block.variant % 2]
    lengths = net.input(f"lengths{kind}", kind, "n")
    side = net.shapes[x][1]
    if block.variant % 3 == 2 and net.opset >= 13:
        return _steps(net, x, lengths, block)
    column = net.aside("Cast", lengths, to=TensorProto.INT64)
    column = net.squeeze("Unsqueeze", column, 1)
    last = net.extent(x, 3) if block.variant % 3 else net.scalar(side)
    places = net.aside("Range", net.scalar(0), last, net.scalar(1))
    before = net.aside("Less", net.squeeze("Unsqueeze", places, 0), column)
    mask = net.squeeze("Unsqueeze", net.aside("Cast", before, to=TensorProto.FLOAT), 1, 2)
    return net.node("Mul", [net.conv(x, block.width, k=1), mask], (block.width, side))


def _steps(net: Net, x: str, lengths: str, block: Block) -> str:
    n, side = net.shapes[x]
    rows = net.reduce("ReduceMean", x, [2], keepdims=0)
    steps = net.transpose(rows, 2, 0, 1)
    most = net.aside("Cast", net.extent(x, 3), to=TensorProto.INT64)
    few = net.aside("Min", net.aside("Cast", lengths, to=TensorProto.INT64), most)
    few = net.aside("Cast", few, to=TensorProto.INT32)
    op, gates = [("GRU", 3), ("LSTM", 4), ("RNN", 1)][block.variant // 6 % 3]
    m = block.width
    y = net.aside(
        op,
        steps,
        net.normal(1, gates * m, n, fan_in=n),
        net.normal(1, gates * m, m, fan_in=m),
        net.normal(1, 2 * gates * m, fan_in=9),
        few,
        hidden_size=m,
    )
    columns = net.squeeze("Unsqueeze", net.transpose(net.squeeze("Squeeze", y, 1), 1, 2, 0), 2)
    return net.node("Add", [net.conv(x, m, k=1), columns], (m, side))


INPUTS: dict[Kind, Callable[[Net, str, Block], str]] = {
    "second-image": _second_image,
    "lengths": _lengths,
}
