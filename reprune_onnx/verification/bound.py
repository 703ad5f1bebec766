"""A bound on the memory and time of a proof, whatever the size of the inputs.

A cut is the same at all sizes: what proves it on a smaller image proves it. So the copies of both
models that are compared may read smaller inputs than the file states, where the graph allows it:
first what takes little time, then what takes little memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import onnx

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.attended import scores
from reprune_onnx.inferred import stated_alone
from reprune_onnx.shapes import image_layout
from reprune_onnx.sizes.fitting import fits
from reprune_onnx.sizes.held import MOST, held_by_a_node
from reprune_onnx.types import ChannelMap

HEAVY = 10**11
"""Multiply-adds of a run beyond which one run of a size is enough."""

QUICK = 10**10
"""Multiply-adds of a run beyond which smaller inputs are tried first: some tenths of a second."""

_SMALLEST = 32  # positions that a side keeps at least
_IMAGE = 4  # the rank of images; that of volumes is larger

Sizes = dict[str, tuple[int, ...]]


def smaller_sizes(graph: Graph, channels: ChannelMap) -> Iterator[Sizes]:
    """The input shapes with sides halved, and halved again, that hold few enough numbers.

    The largest come first; none where the shapes that were analysed are small enough. Where none
    is, the smallest is all that there is.
    """
    held = held_at_once(graph, channels)
    if held <= MOST:
        return
    full = _inferred(graph, channels.input_shapes)
    shapes, enough = channels.input_shapes, False
    for shapes in _halves(channels.input_shapes):
        less = share(channels, shapes)
        if full:  # what positions make with positions, as attention does, shrinks more
            less = min(less, _inferred(graph, shapes) / full)
        if held * less <= MOST:
            enough = True
            yield shapes
    if not enough and shapes != channels.input_shapes:
        yield shapes


def quicker_sizes(channels: ChannelMap, proto: onnx.ModelProto) -> list[Sizes]:
    """The input shapes, with sides halved, at which a run takes some tenths of a second, or least.

    None where it takes no more as it is, where no side can be halved, or where shape inference
    finds that what is fixed inside ``proto`` does not fit.
    """
    work = multiply_adds(channels)
    if work <= QUICK:
        return []
    halves = list(_halves(channels.input_shapes))
    enough = [s for s in halves if work * share(channels, s) <= QUICK]
    return [s for s in (enough[:1] or halves[-1:]) if fits(proto, s)]


def share(channels: ChannelMap, shapes: Sizes) -> float:
    """The size of ``shapes`` over that of the analysed ones, for the input that shrinks most.

    Activations and multiply-adds of convolutions shrink as the positions do.
    """
    full = channels.input_shapes
    return min((prod(s) / max(1, prod(full[name])) for name, s in shapes.items()), default=1.0)


def held_at_once(graph: Graph, channels: ChannelMap) -> int:
    """The most numbers that a run in the file's order holds in activations, as far as known."""
    ops = graph.ops
    last = {name: k for k, op in enumerate(ops) for name in op.inputs}
    alive = {name: prod(shape) for name, shape in channels.input_shapes.items()}
    shapes = {name: tuple(n or 1 for n in t.shape) for name, t in channels.tensors.items()}
    most = 0
    for k, op in enumerate(ops):
        for name in op.outputs:
            if name in channels.tensors:
                alive[name] = prod(shapes[name])
        most = max(most, sum(alive.values()) + scores(op.proto, shapes))
        for name in (*op.inputs, *op.outputs):
            if last.get(name, -1) <= k:
                alive.pop(name, None)
    return most


def _inferred(graph: Graph, shapes: Sizes) -> int:
    """The most numbers that one node reads and makes, as far as ONNX's inference knows."""
    return held_by_a_node(graph.proto.graph.node, stated_alone(graph.proto, shapes))


def multiply_adds(channels: ChannelMap) -> int:
    """The multiply-adds of one run of all layers, at the shapes that were analysed."""
    return sum(layer.positions * prod(layer.shape) for layer in channels.layers)


def _halves(shapes: Sizes) -> Iterator[Sizes]:
    """Shapes with all sides that can be halved once, twice and so on."""
    while True:
        halved = {name: _halved(shape) for name, shape in shapes.items()}
        if halved == shapes:
            return
        shapes = halved
        yield shapes


def _halved(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with its long, even sides halved; the first axis and channels stay."""
    if len(shape) < _IMAGE:
        return shape
    last = len(shape) == _IMAGE and image_layout(shape) == "nhwc"
    kept = (0, _IMAGE - 1 if last else 1)
    return tuple(
        n // 2 if axis not in kept and n % 2 == 0 and n // 2 >= _SMALLEST else n
        for axis, n in enumerate(shape)
    )
