"""Blocks of a Loop or a Scan, whose body holds layers that all rounds share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from random_nets import Net
from random_recipes import Block, Kind

Dims = list[int | None]


@dataclass
class _Body:
    """The graph of one round; ``mark`` begins the names of all that it makes."""

    mark: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{self.mark}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{name}", **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        return self.node("Constant", value=numpy_helper.from_array(array))

    def graph(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.GraphProto:
        return helper.make_graph(self.nodes, f"{self.mark}body", inputs, outputs)


def _real(name: str, dims: Dims) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def _layers(net: Net, body: _Body, x: str, block: Block, n: int, k: int, spatial: int) -> str:
    """Two layers, of which only the first one's channels stay inside; ``x`` is added to them.

    The first one's weight may stand in the body, the other one's outside of it.
    """
    one = [1] * (spatial - 1)
    shape = (block.width, n, k, *one)
    pads = [k // 2, *([0] * (spatial - 1))] * 2
    if block.variant % 3 == 0:
        array = net.rng.standard_normal(shape) / np.sqrt(k * n)
        first = body.constant(array.astype(np.float32))
    else:
        first = net.normal(*shape, fan_in=k * n)
    inner = body.node("LeakyRelu", body.node("Conv", x, first, pads=pads), alpha=0.3)
    second = net.normal(n, block.width, *([1] * spatial), fan_in=4 * block.width)
    made = body.node("Conv", inner, second)
    return body.node("Add", x, made) if block.variant % 4 else body.node("Tanh", made)


def _counted(net: Net, x: str, block: Block) -> str:
    """Loop: so many rounds as a number, a counter, the batch or the number of channels says."""
    n, side = net.shapes[x]
    body = _Body(f"l{len(net.nodes)}_")
    number, going, u = (f"{body.mark}{name}" for name in ("k", "on", "u"))
    way = block.variant % 5
    made = _layers(net, body, u, block, n, 3, 2)
    state = [_real(u, [None, n, None, None])]
    out = [_real(made, [None, n, None, None])]
    inputs = ["", "", x]
    more = body.node("Identity", going)
    if way == 0:
        inputs[:2] = net.scalar(1 + block.variant % 3), net.constant(np.array(True))
    elif way == 1:  # as many as a counter goes up to
        i = f"{body.mark}i"
        up = body.node("Add", i, body.constant(np.array(2, np.int64)))
        more = body.node("Less", up, body.constant(np.array(5, np.int64)))
        inputs = [net.scalar(1 << 40), net.constant(np.array(True)), net.scalar(0), x]
        state.insert(0, helper.make_tensor_value_info(i, TensorProto.INT64, []))
        out.insert(0, helper.make_tensor_value_info(up, TensorProto.INT64, []))
    elif way == 2:  # what each round makes is kept, and the mean taken
        inputs[0] = net.scalar(3)
        out.append(_real(body.node("Tanh", made), [None, n, None, None]))
    else:
        inputs[0] = net.extent(x, way - 3)
    flag = helper.make_tensor_value_info(more, TensorProto.BOOL, [])
    graph = body.graph(
        [
            helper.make_tensor_value_info(number, TensorProto.INT64, []),
            helper.make_tensor_value_info(going, TensorProto.BOOL, []),
            *state,
        ],
        [flag, *out],
    )
    ends = net.nodes_out("Loop", inputs, [(n, side)] * len(out), body=graph)
    if way == 2:
        return net.node("Add", [ends[0], net.reduce("ReduceMean", ends[1], [0], 0)], (n, side))
    return ends[-1]


def _scanned(net: Net, x: str, block: Block) -> str:
    """Scan: row by row, forwards or backwards, or along constants that each round adds."""
    n, side = net.shapes[x]
    body = _Body(f"l{len(net.nodes)}_")
    u, row = f"{body.mark}u", f"{body.mark}row"
    back = block.variant % 2
    if block.variant % 3 == 0:
        made = _layers(net, body, row, block, n, 3, 1)
        graph = body.graph([_real(row, [None, n, None])], [_real(made, [None, n, None])])
        return net.node(
            "Scan",
            [x],
            (n, side),
            body=graph,
            num_scan_inputs=1,
            scan_input_axes=[2],
            scan_input_directions=[back],
            scan_output_axes=[2],
            scan_output_directions=[back],
        )
    made = _layers(net, body, body.node("Add", u, row), block, n, 3, 2)
    graph = body.graph(
        [_real(u, [None, n, None, None]), _real(row, [n, 1, 1])],
        [_real(made, [None, n, None, None])],
    )
    rows = net.normal(2, n, 1, 1, fan_in=4.0)
    return net.node(
        "Scan",
        [x, rows],
        (n, side),
        body=graph,
        num_scan_inputs=1,
        scan_input_directions=[back],
    )


def _loop(net: Net, x: str, block: Block) -> str:
    return (_scanned if block.variant % 12 >= 8 else _counted)(net, x, block)


LOOPS: dict[Kind, Callable[[Net, str, Block], str]] = {"loop": _loop}
