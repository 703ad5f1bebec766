"""Branches that can go as a whole: without channels inside, what they give is a constant.

A residual branch ends in a layer whose output an Add joins with the shortcut. Where no channel is
left that this layer reads, it gives its bias at every position, and so a constant stands for the
branch: a tensor of one value per channel, which the Add broadcasts. It is the same with the weights
of a squeeze-and-excitation, which a Mul joins. Nothing here knows such structures: a layer's output
is followed through whatever computes element by element, and has to end beside an activation of
full shape.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

import numpy as np

from reprune_onnx.analyzer.graph import Graph, Op, captured
from reprune_onnx.analyzer.op_kinds import CONVOLUTIONS, MATRIX_PRODUCTS
from reprune_onnx.analyzer.rules import ELEMENTWISE, RULES
from reprune_onnx.analyzer.rules.normalization import batch_norm
from reprune_onnx.analyzer.rules.reshaping import transpose
from reprune_onnx.types import ChannelMap, Group, Ints, WholeBranch

_OF_CONSTANTS = ELEMENTWISE | {batch_norm, transpose}
"""The rules of ops that make of constants per channel such constants again."""


def with_whole_branches(graph: Graph, channels: ChannelMap) -> ChannelMap:
    """Return the channels with the branch of every group that can go as a whole.

    Where channels are followed in branches of If, none can.
    """
    if channels.branches:
        return channels
    search = _Search(graph, channels)
    groups = tuple(replace(g, branch=search.branch_of(g)) for g in channels.groups)
    return replace(channels, groups=groups)


@dataclass(frozen=True)
class _Read:
    """A node that reads channels of ``groups``, as a weight's slices where that is an ``input``."""

    node: int
    input: int | None
    groups: frozenset[int]


class _Search:
    """The search for the branches of one model."""

    def __init__(self, graph: Graph, channels: ChannelMap) -> None:
        self._graph, self._channels = graph, channels
        self._layers = {layer.node: layer for layer in channels.layers}
        self._made_by = {p.layer.node: g for g in channels.groups for p in g.producers}
        owner = np.full(channels.n_units, -1, dtype=np.int64)
        for g in channels.groups:
            owner[g.units] = g.id
        self._reads: dict[int, list[_Read]] = {}
        reads: list[tuple[int, int | None, Ints]] = [
            *((s.node, s.input, s.ids) for s in channels.sites if s.role == "in"),
            *((s.node, None, s.ids) for s in channels.statistics),
            *((s.node, None, s.ids) for s in channels.summed),
        ]
        for node, i, ids in reads:
            read = _Read(node, i, frozenset(np.unique(owner[ids]).tolist()))
            for group in read.groups:
                self._reads.setdefault(group, []).append(read)

    def branch_of(self, group: Group) -> WholeBranch | None:
        """The branch that goes with a group; None where there is none.

        Each node that reads the group has to end in constants, or to be a part of the branch.
        """
        reads = self._reads.get(group.id, [])
        closing = {read.node: ends for read in reads if (ends := self._ends(read))}
        if not group.free.all() or not closing:
            return None
        ends = [end for of_layer in closing.values() for end in of_layer]
        nodes = self._only_for(ends)
        made = {self._made_by[node].id: self._made_by[node] for node in nodes & {*self._made_by}}
        groups = tuple(
            i for i, g in sorted(made.items()) if all(p.layer.node in nodes for p in g.producers)
        )
        if group.id not in groups or not nodes.issuperset(read.node for read in reads):
            return None
        return WholeBranch(tuple(closing), tuple(ends), nodes, groups)

    def _ends(self, read: _Read) -> list[str]:
        """The ends of what becomes constant without the one group read; none where nothing does."""
        layer = self._layers.get(read.node)
        fits = layer is not None and layer.op in (*CONVOLUTIONS, *MATRIX_PRODUCTS)
        if layer is None or not fits or not read.input == layer.input == 1 or len(read.groups) > 1:
            return []
        path = path_of_constants(self._graph, self._channels, read.node)
        return [] if path is None else path[1]

    def _only_for(self, ends: Collection[str]) -> frozenset[int]:
        """The nodes that nothing needs but ``ends``, each behind all that reads what it makes."""
        graph, nodes = self._graph, set[int]()
        waiting = [-op.index for end in ends if (op := graph.producer(end)) is not None]
        heapify(waiting)
        while waiting:
            op = graph.ops[-heappop(waiting)]  # the last in the graph: its readers are decided
            outputs = [name for name in op.outputs if name and name not in ends]
            readers = [reader.index for name in outputs for reader in graph.readers(name)]
            given = any(name in graph.outputs for name in op.outputs)
            if given or not nodes.issuperset(readers) or (outputs and not readers):
                continue  # what nobody reads stays too
            nodes.add(op.index)
            for name in (*op.inputs, *captured(op)):
                maker = graph.producer(name)
                if maker is not None:
                    heappush(waiting, -maker.index)
        return frozenset(nodes)


def path_of_constants(
    graph: Graph, channels: ChannelMap, node: int
) -> tuple[list[int], list[str]] | None:
    """Return what becomes constant with a layer's output: the nodes, and the tensors at the ends.

    The ends are read by ops that join them, element by element, with an activation of the shape of
    the result. None where something else reads what is constant.
    """
    op = graph.ops[node]
    made, nodes, ends = [op.result], [node], dict[str, None]()
    waiting = {reader.index for reader in graph.readers(op.result)}
    while waiting:
        reader = graph.ops[min(waiting)]  # all that it reads comes before it
        waiting.remove(reader.index)
        others = [i for i in reader.inputs if i and i not in made]
        rule = RULES.get((reader.domain, reader.type))
        if rule in _OF_CONSTANTS and all(map(graph.is_constant, others)):
            if len([o for o in reader.outputs if o]) > 1:
                return None
            nodes.append(reader.index)
            made.append(reader.result)
            waiting |= {after.index for after in graph.readers(reader.result)}
        elif rule in ELEMENTWISE and _is_full(channels, reader, others):
            ends |= dict.fromkeys(i for i in reader.inputs if i in made)
        else:
            return None
    if not ends or set(made).intersection(graph.outputs):
        return None
    return nodes, list(ends)


def _is_full(channels: ChannelMap, op: Op, others: Collection[str]) -> bool:
    """Whether one of ``others`` has the shape of the result, so that a constant only joins it."""
    shapes = (channels.tensors[i].shape for i in others if i in channels.tensors)
    result = channels.tensors.get(op.result)
    return result is not None and result.shape in shapes
