"""Blocks of attention: products of activations, in heads, also as one node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto
from random_nets import Net
from random_recipes import Block, Kind


def _attention(net: Net, x: str, block: Block) -> str:
    """Over places, across channels, or linear, each over heads of one layer or of three."""
    if block.variant >= _IN_ONE_NODE:
        return _in_one_node(net, x, block)
    heads, d = 1 + block.variant % 3, 2 + block.width % 3
    side = net.shapes[x][1]
    q, k, v = (_fused if block.variant // 3 % 2 else _apart)(net, x, heads, d)
    way = block.variant // 6 % 3
    if way == 0:
        scores = net.aside("MatMul", net.transpose(q, 0, 1, 3, 2), k)
        scores = net.aside("Mul", scores, net.number(d**-0.5))
        weights = net.aside("Softmax", scores, axis=3)
        made = net.aside("MatMul", v, net.transpose(weights, 0, 1, 3, 2))
    elif way == 1:
        scores = net.aside("MatMul", q, net.transpose(k, 0, 1, 3, 2))
        weights = net.aside("Softmax", net.aside("Mul", scores, net.number(0.1)), axis=3)
        made = net.aside("MatMul", weights, v)
    else:
        q, k = (net.aside("Sigmoid", y) for y in (q, k))
        pairs = net.aside("MatMul", v, net.transpose(k, 0, 1, 3, 2))
        made = net.aside("Mul", net.aside("MatMul", pairs, q), net.number(0.05))
    counted = net.extent(x, 1) if net.shapes[x][0] == heads * d else heads * d
    size = net.vector(net.extent(x, 0), counted, net.extent(x, 2), net.extent(x, 3))
    image = net.node("Reshape", [made, size], (heads * d, side))
    return net.add(x, net.conv(image, net.shapes[x][0], k=1))


def _apart(net: Net, x: str, heads: int, d: int) -> list[str]:
    """(batch, heads, d, places) of three layers."""
    target = net.integers(0, heads, d, -1)
    return [net.aside("Reshape", net.conv(x, heads * d, k=1), target) for _ in range(3)]


def _fused(net: Net, x: str, heads: int, d: int) -> list[str]:
    """The same of one layer."""
    made = net.conv(x, 3 * heads * d, k=1)
    parts = net.aside("Reshape", made, net.integers(0, 3, heads, d, -1))
    return [net.aside("Gather", parts, net.scalar(i), axis=1) for i in range(3)]


def _in_one_node(net: Net, x: str, block: Block) -> str:
    """One node of ONNX, or of com.microsoft, over heads side by side; perhaps turned before."""
    heads, (n, side), way = 2 + block.width % 2, net.shapes[x], block.variant % 6
    d = 16 if way == _GROUPED else 4 + 2 * (block.width % 3)
    rows = _rows(net, x, n)
    if way == 4 or (way == 0 and net.opset < _WITH_ATTENTION):
        weights = [net.normal(n, 3 * heads * d, fan_in=n), net.normal(3 * heads * d, fan_in=9)]
        made = _own(net, "Attention", rows, *weights, num_heads=heads)
    else:
        shared = 2 if way == _GROUPED or (net.opset >= _WITH_ATTENTION and way < 3) else 1
        q = net.aside("MatMul", rows, net.normal(n, shared * heads * d, fan_in=n))
        k, v = (net.aside("MatMul", rows, net.normal(n, heads * d, fan_in=n)) for _ in "kv")
        made = _attended(net, [q, k, v], (heads, d, shared), way)
        heads *= shared
    back = net.transpose(net.aside("MatMul", made, net.normal(heads * d, n, fan_in=d)), 0, 2, 1)
    return net.add(x, net.node("Reshape", [back, net.aside("Shape", x)], (n, side)))


def _attended(net: Net, qkv: list[str], sizes: tuple[int, int, int], way: int) -> str:
    heads, d, shared = sizes
    both = {"q_num_heads": shared * heads, "kv_num_heads": heads}
    standard = net.opset >= _WITH_ATTENTION and way < 3
    if way == 1:
        qkv = [*_turned(net, qkv[:2], sizes, standard), qkv[2]]
    if way == _GROUPED:
        length = net.extent(qkv[0], 1)
        last = net.aside("Sub", length, net.scalar(1))
        all_last = net.aside("Expand", last, net.vector(net.extent(qkv[0], 0)))
        lengths = [net.aside("Cast", y, to=TensorProto.INT32) for y in (all_last, length)]
        numbers = {"num_heads": shared * heads, "kv_num_heads": heads}
        inputs = [*qkv, "", "", *lengths]
        made, *_ = net.nodes_out(
            "GroupQueryAttention", inputs, [(0, 0)] * 3, domain="com.microsoft", **numbers
        )
        return made
    if not standard:
        bias = [net.normal(3 * heads * d, fan_in=9)] if way == 5 else []
        return _own(net, "MultiHeadAttention", *qkv, *bias, num_heads=heads)
    if way < 2:
        return net.aside("Attention", *qkv, **both)
    apart = [
        net.transpose(net.aside("Reshape", y, net.integers(0, 0, many, d)), 0, 2, 1, 3)
        for y, many in zip(qkv, (shared * heads, heads, heads), strict=True)
    ]
    made = net.transpose(net.aside("Attention", *apart, scale=0.3), 0, 2, 1, 3)
    return net.aside("Reshape", made, net.integers(0, 0, shared * heads * d))


def _turned(net: Net, both: list[str], sizes: tuple[int, int, int], standard: bool) -> list[str]:
    """Queries and keys, turned by their places."""
    heads, d, shared = sizes
    angles = np.arange(_PLACES * d // 2).reshape(_PLACES, -1) / 7
    tables = [net.constant(table) for table in (np.cos(angles), np.sin(angles))]
    if not standard:
        inputs = [net.integers(0), *tables]  # the first place
        return [_own(net, "RotaryEmbedding", y, *inputs, num_heads=heads) for y in both]
    batch, n = (net.extent(both[0], axis) for axis in (0, 1))
    line = net.squeeze("Unsqueeze", net.aside("Range", net.scalar(0), n, net.scalar(1)), 0)
    places = net.aside("Expand", line, net.vector(batch, n))
    return [
        net.aside("RotaryEmbedding", y, *tables, places, num_heads=many)
        for y, many in zip(both, (shared * heads, heads), strict=True)
    ]


def _own(net: Net, op: str, *inputs: str, **attributes: int) -> str:
    return net.aside(op, *inputs, domain="com.microsoft", **attributes)


def _rows(net: Net, x: str, n: int) -> str:
    """(batch, places, channels)."""
    flat = net.aside("Reshape", net.same("Tanh", x), net.integers(0, n, -1))
    return net.transpose(flat, 0, 2, 1)


_IN_ONE_NODE = 36  # the variant from which on attention is one node
_GROUPED = 3
_WITH_ATTENTION = 24  # the opset, of those that are drawn, that has it
_PLACES = 1024  # that tables of angles are for

ATTENTION: dict[Kind, Callable[[Net, str, Block], str]] = {"attention": _attention}
