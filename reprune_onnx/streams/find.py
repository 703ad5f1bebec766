"""The streams whose basis is free: what linear layers alone write, and linear layers alone read.

Between them only Adds of two tensors of the stream stand, and nodes that treat every channel alike
and linearly. A BatchNormalization right behind a layer that writes is part of that layer. A
depthwise Conv or an activation that reads the stream on any side makes its channels what they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from reprune_onnx.activations.linear import Linear
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import CONVOLUTIONS, MATRIX_PRODUCTS, SAME_VALUES
from reprune_onnx.recovery.intercept import is_sole_constant
from reprune_onnx.types import ChannelMap, Group

_ALIKE = SAME_VALUES | {"AveragePool", "GlobalAveragePool"}
"""Ops that do the same linear thing to every channel."""
_LAYERS = frozenset({*CONVOLUTIONS, *MATRIX_PRODUCTS})
_STORED = frozenset({np.dtype(np.float32), np.dtype(np.float64)})
"""Types of weights in which another basis is the same network but for rounding."""


@dataclass(frozen=True)
class Writer:
    """A layer that writes a stream, and the BatchNormalization behind it, where there is one."""

    layer: Linear
    norm: Op | None


@dataclass(frozen=True)
class Stream:
    """The ``n`` channels of the group ``group``, by the layers that write and that read them."""

    group: int
    n: int
    writers: tuple[Writer, ...]
    readers: tuple[Linear, ...]


def linear_streams(graph: Graph, channels: ChannelMap) -> dict[int, Stream]:
    """Return the streams whose basis is free, by the id of their group."""
    free = (g for g in channels.groups if g.free.all() and g.n > 1)
    streams = (_stream(graph, channels, g) for g in free)
    return {stream.group: stream for stream in streams if stream is not None}


def _stream(graph: Graph, channels: ChannelMap, group: Group) -> Stream | None:
    """The stream of a group; None where its basis is not free."""
    mine = np.zeros(channels.n_units, dtype=np.bool_)
    mine[group.units] = True
    labels = {name: t.ids for name, t in channels.tensors.items() if mine[t.ids].any()}
    sites = [s for s in channels.sites if mine[s.ids].any()]
    ids = [*labels.values(), *(s.ids for s in sites)]
    if not all(np.array_equal(i.reshape(-1), group.units) for i in ids):
        return None
    if not labels.keys().isdisjoint(graph.outputs):
        return None
    ops = list(_around(graph, labels))
    writers = [w for op in ops if (w := _writer(graph, op, labels)) is not None]
    readers = [r for op in ops if (r := _reader(graph, op, labels)) is not None]
    known = {w.layer.op.index for w in writers} | {r.op.index for r in readers}
    known |= {w.norm.index for w in writers if w.norm is not None}
    if not writers or not readers or not {s.node for s in sites} <= known:
        return None
    if not all(op.index in known or _passes(op, labels) for op in ops):
        return None
    return Stream(group.id, group.n, tuple(writers), tuple(readers))


def _around(graph: Graph, tensors: Collection[str]) -> Iterator[Op]:
    """Every node that makes or reads one of some tensors, once."""
    seen: set[int] = set()
    for name in tensors:
        made = graph.producer(name)
        for op in (*([made] if made else []), *graph.readers(name)):
            if op.index not in seen:
                seen.add(op.index)
                yield op


def _linear(graph: Graph, op: Op) -> Linear | None:
    """A layer of one group whose weight belongs to it alone; None for any other node."""
    if op.type not in _LAYERS or op.domain or not op.has(1) or op.attrs.get("transA", 0):
        return None
    weight = op.inputs[1]
    if not is_sole_constant(graph, weight) or graph.array(weight).dtype not in _STORED:
        return None
    layer = Linear(op, graph.shape(weight))
    return layer if layer.groups == 1 and layer.has_plain_bias(graph) else None


def _writer(graph: Graph, op: Op, tensors: Collection[str]) -> Writer | None:
    if op.type not in _LAYERS or op.outputs[0] not in tensors:
        return None
    layer = _linear(graph, op)
    if layer is None or (layer.adds and not _own(graph, op.inputs[2], layer.n_out)):
        return None
    readers = graph.readers(op.outputs[0])
    norm = next((r for r in readers if r.type == "BatchNormalization"), None)
    if norm is None:
        return Writer(layer, None)
    plain = len(readers) == 1 and norm.inputs[0] == op.outputs[0] and op.type != "MatMul"
    sole = all(_own(graph, name, layer.n_out) for name in norm.inputs[1:5])
    single = len([name for name in norm.outputs if name]) == 1
    return Writer(layer, norm) if plain and sole and single else None


def _reader(graph: Graph, op: Op, tensors: Collection[str]) -> Linear | None:
    return _linear(graph, op) if op.type in _LAYERS and op.inputs[0] in tensors else None


def _own(graph: Graph, name: str, n: int) -> bool:
    """Whether a tensor holds ``n`` values, for one node alone."""
    return is_sole_constant(graph, name) and graph.array(name).size == n


def _passes(op: Op, tensors: Collection[str]) -> bool:
    """Whether a node commutes with a change of the basis."""
    if op.domain or len([name for name in op.outputs if name]) > 1:
        return False
    if op.type in ("Add", "Sum"):
        return all(name in tensors for name in op.inputs)
    return op.type in _ALIKE
