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
    """A node that reads the units ``ids (n,)``, as a weight's slices where that is an ``input``."""

    node: int
    input: int | None
    ids: Ints


class _Search:
    """The search for the branches of one model."""

    def __init__(self, graph: Graph, channels: ChannelMap) -> None:
        self._graph, self._channels = graph, channels
        self._layers = {layer.node: layer for layer in channels.layers}
        self._needed = self._needed_without(())
        self._reads = [
            *(_Read(s.node, s.input, s.ids) for s in channels.sites if s.role == "in"),
            *(_Read(s.node, None, s.ids) for s in channels.statistics),
            *(_Read(s.node, None, s.ids) for s in channels.summed),
        ]

    def branch_of(self, group: Group) -> WholeBranch | None:
        """The branch that goes with a group; None where there is none.

        Each node that reads the group has to end in constants, or to be a part of the branch.
        """
        reads = [r for r in self._reads if np.isin(r.ids, group.units).any()]
        closing = {read.node: ends for read in reads if (ends := self._ends(read, group))}
        if not group.free.all() or not closing:
            return None
        ends = [end for of_layer in closing.values() for end in of_layer]
        nodes = frozenset(self._needed - self._needed_without(ends))
        groups = tuple(
            g.id
            for g in self._channels.groups
            if all(producer.layer.node in nodes for producer in g.producers)
        )
        if group.id not in groups or not nodes.issuperset(read.node for read in reads):
            return None
        return WholeBranch(tuple(closing), tuple(ends), nodes, groups)

    def _ends(self, read: _Read, group: Group) -> list[str]:
        """The ends of what becomes constant without the group; none where nothing does."""
        layer = self._layers.get(read.node)
        fits = layer is not None and layer.op in (*CONVOLUTIONS, *MATRIX_PRODUCTS)
        if layer is None or not fits or not read.input == layer.input == 1:
            return []
        if not np.isin(read.ids, group.units).all():
            return []
        path = path_of_constants(self._graph, self._channels, read.node)
        return [] if path is None else path[1]

    def _needed_without(self, ends: Collection[str]) -> set[int]:
        """The nodes that the outputs need if ``ends`` are constants."""
        graph, needed = self._graph, set[int]()
        waiting = list(graph.outputs)
        while waiting:
            name = waiting.pop()
            op = None if name in ends else graph.producer(name)
            if op is None or op.index in needed:
                continue
            needed.add(op.index)
            waiting += [*op.inputs, *captured(op)]
        return needed


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
