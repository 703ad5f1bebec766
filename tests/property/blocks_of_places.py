"""Blocks that read and write at places, along other axes than the channels'."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import numpy_helper
from random_nets import Net
from random_recipes import BATCH, Block, Kind


def _places(net: Net, x: str, block: Block) -> str:
    ways = [_filled, _elements, _sorted, _written_elements, _rows, _written_rows]
    if net.opset >= 16:
        ways.append(_grid)
    return ways[block.variant % len(ways)](net, x, block)


def _filled(net: Net, x: str, block: Block) -> str:
    """A number in the shape of the image."""
    shape = net.aside("Shape", x)
    half = numpy_helper.from_array(np.array([0.5], dtype=np.float32))
    value = {} if block.variant % 2 else {"value": half}
    return net.add(x, net.node("ConstantOfShape", [shape], net.shapes[x], **value))


def _elements(net: Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    places = net.constant(net.rng.integers(0, side, (BATCH, n, side, side)))
    return net.same("GatherElements", x, places, axis=2 + block.variant % 2)


def _sorted(net: Net, x: str, block: Block) -> str:
    """All positions of each channel by their values, and the same once more by their places."""
    del block
    n, side = net.shapes[x]
    flat = net.aside("Reshape", x, net.integers(0, 0, -1))
    best, places = net.nodes_out("TopK", [flat, net.integers(side * side)], [(0, 0)] * 2, axis=2)
    again = net.aside("GatherElements", flat, places, axis=2)
    both = net.aside("Add", best, again)
    return net.node("Reshape", [both, net.integers(0, -1, side, side)], (n, side))


def _written_elements(net: Net, x: str, block: Block) -> str:
    n, side = net.shapes[x]
    axis = 2 + block.variant % 2
    extents = [BATCH, n, side, side]
    extents[axis] = 1
    places = net.constant(net.rng.integers(0, side, extents))
    return net.same("ScatterElements", x, places, net.normal(*extents, fan_in=4.0), axis=axis)


def _rows(net: Net, x: str, block: Block) -> str:
    """Positions first: a vector of the channels is read at each of them."""
    del block
    side = net.shapes[x][1]
    first = net.transpose(x, 2, 3, 0, 1)
    places = net.constant(net.rng.integers(0, side, (side, side, 2)))
    return net.transpose(net.same("GatherND", first, places), 2, 3, 0, 1)


def _written_rows(net: Net, x: str, block: Block) -> str:
    """A vector of another layer's channels, or of constants, is written at some positions."""
    n, side = net.shapes[x]
    first = net.transpose(x, 2, 3, 0, 1)
    places = net.constant(np.array([[0, 0], [side - 1, 0]]))
    if block.variant % 2:
        means = net.node("GlobalAveragePool", [net.conv(x, n)], (n, 1))
        one = net.aside("Reshape", means, net.integers(1, BATCH, -1))
        vectors = net.aside("Concat", one, one, axis=0)
    else:
        vectors = net.normal(2, BATCH, n, fan_in=4.0)
    return net.transpose(net.same("ScatterND", first, places, vectors), 2, 3, 0, 1)


def _grid(net: Net, x: str, block: Block) -> str:
    side = net.shapes[x][1]
    grid = net.constant(net.rng.uniform(-0.9, 0.9, (BATCH, side, side, 2)))
    return net.same("GridSample", x, grid, align_corners=block.variant % 2)


PLACES: dict[Kind, Callable[[Net, str, Block], str]] = {"places": _places}
