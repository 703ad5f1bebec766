"""Blocks of attention: products of activations, in heads."""

from __future__ import annotations

from collections.abc import Callable

from random_nets import Net
from random_recipes import Block, Kind


def _attention(net: Net, x: str, block: Block) -> str:
    """Over places, across channels, or linear, each over heads of one layer or of three."""
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


ATTENTION: dict[Kind, Callable[[Net, str, Block], str]] = {"attention": _attention}
