"""The share of the outputs that an error reaches: the heads of a network are counted one by one.

An error in the trunk of a detector spoils every head, one within a head spoils that head alone. The
outputs count alike, and so do the parts that a Concat behind the last layers puts together, such as
boxes and scores of several levels. These parts are the ends; a network with one output has one.
"""

from __future__ import annotations

from collections.abc import Iterator

from reprune_onnx.analyzer.graph import Graph, captured
from reprune_onnx.types import ChannelMap


def reached(graph: Graph, channels: ChannelMap) -> dict[int, float]:
    """The share of the outputs, by node, that depends on the node's results: 1 is all."""
    outputs = [o.name for o in graph.proto.graph.output]
    layers = {layer.node for layer in channels.layers}
    depends = _depending(graph, layers)
    every = [name for name in outputs if name in depends] or outputs
    ends: dict[str, float] = {}
    for name in every:
        for end, weight in _parts(graph, name, 1 / len(every), layers, depends):
            ends[end] = ends.get(end, 0.0) + weight
    behind: dict[str, set[str]] = {end: {end} for end in ends}
    shares = {}
    for op in reversed(graph.ops):
        seen = set[str]().union(*(behind.get(name, ()) for name in op.outputs))
        shares[op.index] = sum(ends[end] for end in sorted(seen))
        for name in (*op.inputs, *captured(op)):
            behind[name] = behind.get(name, set()) | seen
    return shares


def _depending(graph: Graph, layers: set[int]) -> set[str]:
    """The tensors that depend on a layer."""
    tensors: set[str] = set()
    for op in graph.ops:
        if op.index in layers or tensors.intersection((*op.inputs, *captured(op))):
            tensors.update(op.outputs)
    return tensors


def _parts(
    graph: Graph, name: str, weight: float, layers: set[int], depends: set[str]
) -> Iterator[tuple[str, float]]:
    """The ends that a tensor is put together of, back to layers and what computes of several."""
    op = graph.producer(name)
    inputs = [] if op is None else [i for i in op.inputs if i in depends]
    if op is None or op.index in layers or not inputs or (len(inputs) > 1 and op.type != "Concat"):
        yield name, weight
        return
    for each in inputs:
        yield from _parts(graph, each, weight / len(inputs), layers, depends)
