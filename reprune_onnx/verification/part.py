"""A part of a graph: what lies between some nodes and the tensors that are looked at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx

from reprune_onnx.order import read_by


@dataclass(frozen=True)
class GraphPart:
    """``nodes`` by their places in the graph, and what they read that other nodes make."""

    nodes: tuple[int, ...]
    reads: tuple[str, ...]


def part_behind(graph: onnx.GraphProto, first: Collection[int], ends: Collection[str]) -> GraphPart:
    """The part that makes ``ends`` of the outputs of the nodes at the places ``first``.

    The part ends where one of ``ends`` is made: nodes behind only those are not in it. Nodes
    that read nothing, which are constants, belong to it.
    """
    read = [set(read_by(node)) for node in graph.node]
    changed: set[str] = set()
    behind: list[int] = []
    for k, node in enumerate(graph.node):
        if k in first or read[k] & changed:
            behind.append(k)
            changed.update(name for name in node.output if name and name not in ends)
    wanted = set(ends)
    leads: list[int] = []
    for k in reversed(behind):
        if wanted.intersection(graph.node[k].output):
            leads.append(k)
            wanted |= read[k]
    nodes = set(leads)
    makers = {name: k for k, node in enumerate(graph.node) for name in node.output if name}
    outside = {
        name for k in leads for name in read[k] if name in makers and makers[name] not in nodes
    }
    alone = {name for name in outside if not read[makers[name]]}
    nodes |= {makers[name] for name in alone}
    return GraphPart(tuple(sorted(nodes)), tuple(sorted(outside - alone)))
