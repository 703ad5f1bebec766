"""The ends of a network: the tensors of which its outputs are put together.

A detector's output holds boxes and scores of several levels, each made by a layer of its own, one
beside the other. As one tensor its errors are mostly those of the largest numbers, coordinates at
places where nothing is. So outputs are followed back to their parts, which count alike.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from reprune_onnx.analyzer.graph import Graph, Op, captured
from reprune_onnx.analyzer.op_kinds import ARITHMETIC, SAME_ELEMENTS, WEIGHTED
from reprune_onnx.analyzer.squash import SOFTMAXES

_EXACT = SAME_ELEMENTS | ARITHMETIC | SOFTMAXES | {"Concat", "Exp"}
"""Ops whose result has all elements of what they read, each made of that element alone."""


def compared_ends(
    graph: Graph, outputs: Sequence[str] | None = None
) -> dict[str, dict[str, float]]:
    """The ends by which models are compared, of each of ``outputs``, with what each counts.

    An output's count 1 together, and have all its elements: before a Softmax they are the logits,
    behind a Sigmoid the scores, and of boxes what a layer made, before strides and grids come in.
    Without ``outputs`` they are those of the graph, or of a detector that suppresses boxes itself
    all boxes and scores.
    """
    layers = {op.index for op in graph.ops if op.type in WEIGHTED}
    depends = _depending(graph, layers)

    def exact(op: Op) -> bool:
        return op.type in _EXACT

    if outputs is None:
        outputs = before_suppression(graph) or [o.name for o in graph.proto.graph.output]
    return {name: _together(_parts(graph, name, 1.0, exact, depends)) for name in outputs}


def before_suppression(graph: Graph) -> list[str]:
    """The boxes and scores that every NonMaxSuppression reads; none where there is no such node."""
    nodes = [op for op in graph.ops if op.type == "NonMaxSuppression"]
    return list(dict.fromkeys(name for op in nodes for name in op.inputs[:2]))


def reached(graph: Graph, layers: Collection[int]) -> dict[int, float]:
    """The share of the outputs, by node, that depends on the node's results: 1 is all.

    An error in the trunk of a detector spoils every head, one within a head spoils that head alone.
    The outputs count alike, and so do the parts that a Concat behind the last of the nodes
    ``layers`` puts together. A network with one output has one end.
    """
    outputs = [o.name for o in graph.proto.graph.output]
    depends = _depending(graph, layers)

    def behind_layers(op: Op) -> bool:
        return op.index not in layers

    every = [name for name in outputs if name in depends] or outputs
    ends = _together(
        part
        for name in every
        for part in _parts(graph, name, 1 / len(every), behind_layers, depends)
    )
    behind: dict[str, set[str]] = {end: {end} for end in ends}
    shares = {}
    for op in reversed(graph.ops):
        seen = set[str]().union(*(behind.get(name, ()) for name in op.outputs))
        shares[op.index] = sum(ends[end] for end in sorted(seen))
        for name in (*op.inputs, *captured(op)):
            behind[name] = behind.get(name, set()) | seen
    return shares


def _depending(graph: Graph, layers: Collection[int]) -> set[str]:
    """The tensors that depend on a layer."""
    tensors: set[str] = set()
    for op in graph.ops:
        if op.index in layers or tensors.intersection((*op.inputs, *captured(op))):
            tensors.update(op.outputs)
    return tensors


def _parts(
    graph: Graph, name: str, weight: float, passes: Callable[[Op], bool], depends: set[str]
) -> Iterator[tuple[str, float]]:
    """The ends that a tensor is put together of, back through ops that one tensor ``passes``.

    What computes of several tensors ends the way, but for a Concat, whose inputs count alike.
    """
    op = graph.producer(name)
    inputs = [] if op is None else [i for i in op.inputs if i in depends]
    several = len(inputs) > 1 and op is not None and op.type != "Concat"
    if op is None or not inputs or several or not passes(op):
        yield name, weight
        return
    for each in inputs:
        yield from _parts(graph, each, weight / len(inputs), passes, depends)


def _together(parts: Iterator[tuple[str, float]]) -> dict[str, float]:
    """The ends, each once, with the sum of what it counts."""
    ends: dict[str, float] = {}
    for name, weight in parts:
        ends[name] = ends.get(name, 0.0) + weight
    return ends
