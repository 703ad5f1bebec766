"""Blocks of an If, between layers or around them."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import TensorProto, helper
from random_nets import Net
from random_recipes import Block, Kind


def _branches(net: Net, x: str, block: Block) -> str:
    """Both branches read ``x``: with layers of their own, or of the graph around them."""
    n, side = net.shapes[x]
    mean = net.reduce("ReduceMean", x, [0, 1, 2, 3], keepdims=0)
    flag = net.aside("Greater", mean, net.number(0.0))
    bodies = {f"{name}_branch": _body(net, x, block, k) for k, name in enumerate(("then", "else"))}
    made = n if block.variant % 4 < 2 else block.width
    return net.node("If", [flag], (made, side), **bodies)


def _body(net: Net, x: str, block: Block, k: int) -> onnx.GraphProto:
    n = net.shapes[x][0]
    mark = f"b{len(net.nodes)}_{k}_"
    nodes: list[onnx.NodeProto] = []

    def node(op: str, *inputs: str, **attributes: object) -> str:
        name = f"{mark}{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{name}", **attributes))
        return name

    y = node("LeakyRelu", x, alpha=0.2 + 0.3 * k)
    if block.variant % 4 >= 1:
        inner = net.normal(block.width + k, n, 1, 1, fan_in=n)
        y = node("LeakyRelu", node("Conv", y, inner), alpha=0.2)
        made = n if block.variant % 4 < 2 else block.width
        outer = net.normal(made, block.width + k, 3, 3, fan_in=9 * block.width)
        y = node("Conv", y, outer, pads=[1, 1, 1, 1])
    shape = [None, n if block.variant % 4 < 2 else block.width, None, None]
    output = helper.make_tensor_value_info(y, TensorProto.FLOAT, shape)
    return helper.make_graph(nodes, f"{mark}body", [], [output])


BODIES: dict[Kind, Callable[[Net, str, Block], str]] = {"branches": _branches}
