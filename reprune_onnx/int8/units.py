"""A network in units: each layer with what follows it up to the next ones.

A unit is in int8 or in float as a whole, as rounding between a layer and its activation would cost
accuracy and time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import PRODUCTS


@dataclass(frozen=True)
class Unit:
    """The nodes of one layer, by name, in graph order; the first is the layer.

    ``reads`` are the tensors that they read of others, ``ends`` those that others read of them.
    """

    nodes: tuple[str, ...]
    reads: tuple[str, ...]
    ends: tuple[str, ...]

    @property
    def layer(self) -> str:
        """The layer's name."""
        return self.nodes[0]


def units_of(graph: Graph) -> list[Unit]:
    """Return the units of a graph; a node belongs to the last layer that it depends on.

    Nodes before the first layer belong to none, and neither do those behind the last ones: what
    only leads to the outputs, see `behind`.
    """
    late = behind(graph)
    owner: dict[int, int] = {}
    for op in graph.ops:
        if op.type in PRODUCTS and not _constant(graph, op.index):
            owner[op.index] = op.index
            continue
        before = [owner.get(p.index, -1) for p in _producers(graph, op.index)]
        owner[op.index] = max(before, default=-1)
    members: dict[int, list[int]] = {}
    for index, layer in owner.items():
        if layer >= 0 and graph.ops[index].proto.name not in late:
            members.setdefault(layer, []).append(index)
    return [_unit(graph, nodes) for _, nodes in sorted(members.items())]


def behind(graph: Graph) -> set[str]:
    """The names of the nodes, but layers, behind which no layer comes: what makes the outputs."""
    leads: dict[int, bool] = {}
    for op in reversed(graph.ops):
        readers = [r for name in op.outputs for r in graph.readers(name)]
        leads[op.index] = any(r.type in PRODUCTS or leads[r.index] for r in readers)
    return {op.proto.name for op in graph.ops if not leads[op.index] and op.type not in PRODUCTS}


def _unit(graph: Graph, nodes: Sequence[int]) -> Unit:
    inside = set(nodes)
    reads = {
        name
        for i in nodes
        for name in graph.ops[i].inputs
        if name and not graph.is_constant(name) and not _made_by(graph, name, inside)
    }
    ends = [
        name
        for i in nodes
        for name in graph.ops[i].outputs
        if name in graph.outputs or any(r.index not in inside for r in graph.readers(name))
    ]
    names = tuple(graph.ops[i].proto.name for i in nodes)
    return Unit(names, tuple(sorted(reads)), tuple(ends))


def _made_by(graph: Graph, name: str, nodes: set[int]) -> bool:
    maker = graph.producer(name)
    return maker is not None and maker.index in nodes


def _producers(graph: Graph, index: int) -> list[Op]:
    makers = (graph.producer(name) for name in graph.ops[index].inputs if name)
    return [maker for maker in makers if maker is not None]


def _constant(graph: Graph, index: int) -> bool:
    return all(graph.is_constant(name) for name in graph.ops[index].inputs if name)
