"""The layer that makes what a product or a layer reads, where nothing between them is nonlinear.

Elements of its output may be moved and scaled, and mixed along positions, as values are in
attention. Then the channels in between can be combined: what the layer makes in other proportions,
its reader takes apart again. Which rows of the layer's weight are which channels is not followed
node by node, but seen: the network runs with the number of its row in place of every value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.activations.joint import Joint, joint_of
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.measurable import measured_names
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import (
    ARITHMETIC,
    LINEAR,
    MATRIX_PRODUCTS,
    MEASURING,
    MOVING,
    SAME_VALUES,
)
from reprune_onnx.bodies import with_bodies
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import ChannelMap, Ints, Model

Array = NDArray[Any]
Feeds = Mapping[str, Array]

_IMAGES = 2
_UNEVEN, _OFF = 1e-4, 0.1  # of a scale, and of the number of a row
_BETWEEN = MOVING | ARITHMETIC | SAME_VALUES | {"BatchNormalization", "Einsum", "MatMul"}


@dataclass(frozen=True)
class Maker:
    """The layer at ``node`` makes an operand.

    ``rows`` are, for every head, the d rows of its output that are the channels of the head.
    """

    node: int
    rows: tuple[Ints, ...]


@dataclass(frozen=True)
class Network:
    """A network in float32, what is known of it, and one batch of images.

    Of these two are looked at, where the file leaves their number open.
    """

    model: Model
    graph: Graph
    channels: ChannelMap
    images: Feeds

    @cached_property
    def feeds(self) -> Feeds:
        """The images that the network runs with here."""
        dims = {i.name: i.type.tensor_type.shape.dim for i in self.model.proto.graph.input}
        few = {n for n, d in dims.items() if d and not d[0].dim_value}
        return {n: a[:_IMAGES] if n in few else a for n, a in self.images.items()}

    @cached_property
    def names(self) -> set[str]:
        """The tensors that can be looked at; what lies in branches of If may be none of them."""
        return measured_names(self.model.proto)

    @cached_property
    def values(self) -> Feeds:
        """The outputs of makers of others' channels, and all measured extents; in one run."""
        graph, channels = self.graph, self.channels
        read = [(graph.ops[s.node].inputs[s.input], False) for s in channels.summed]
        read += [(graph.ops[layer.node].inputs[0], True) for layer in channels.layers]
        nodes = {n for name, mixed in read for n in maker_nodes(graph, channels, name, mixed)}
        starts = [start for start in (_start(self, node) for node in nodes) if start is not None]
        measuring = [op for op in self.graph.ops if op.type in MEASURING]
        asked = {s.joint.tensor for s in starts} | {op.result for op in measuring}
        names = sorted(asked & self.names)
        return Session(self.model.proto, optimize=True, outputs=names).run(self.feeds, names)


@dataclass(frozen=True)
class _Start:
    """A layer, and the tensor that its output becomes before it is read."""

    node: int
    linear: Linear
    joint: Joint


def maker_nodes(graph: Graph, channels: ChannelMap, name: str, mixed: bool) -> Iterator[int]:
    """Yield the layers that tensor ``name`` may be made by, with nothing nonlinear between.

    With ``mixed`` those whose positions a product of activations mixes, else the others.
    """
    layers = {layer.node for layer in channels.layers}
    stack, seen = [(name, False)], set[tuple[str, bool]]()
    while stack:
        name, product = stack.pop()
        op = graph.producer(name)
        if op is None or (name, product) in seen:
            continue
        seen.add((name, product))
        if op.index in layers:
            if product == mixed:
                yield op.index
        elif op.type in _BETWEEN and not op.domain:
            product |= op.type in MATRIX_PRODUCTS or op.type == "Einsum"
            stack += [(i, product) for i in op.inputs if i in channels.tensors]


@dataclass(frozen=True)
class Made:
    """The layer at ``node`` makes a tensor: each element is one of its row in ``rows``, scaled."""

    node: int
    rows: Array
    probe: Probe


def made_by(network: Network, name: str, reader: int, mixed: bool) -> Made | None:
    """Return the layer that makes tensor ``name``, for node ``reader`` alone; None of others.

    With ``mixed`` products of activations mix its positions on the way, else none does.
    """
    for node in maker_nodes(network.graph, network.channels, name, mixed):
        start = _start(network, node)
        path = None if start is None else _path(network, start.joint.tensor, name)
        if start is None or path is None or not {start.joint.tensor, name} <= network.names:
            continue
        probe = Probe(network, start)
        ends = _ends(network.graph, start.joint.tensor, path, reader)
        rows, others = probe.traced(name, ends)
        if rows is not None and not np.isin(rows, others).any():
            return Made(node, rows, probe)
    return None


def _start(network: Network, node: int) -> _Start | None:
    """The layer as one whose outputs can be combined; None of others."""
    graph = network.graph
    (layer,) = (x for x in network.channels.layers if x.node == node)
    if layer.op not in LINEAR or layer.input != 1:
        return None
    linear = Linear(graph.ops[node], layer.shape)
    joint = joint_of(graph, network.channels, linear)
    free = joint.other is None and not joint.bounded and not linear.hidden
    alone = len(graph.readers(layer.weight)) == 1
    return _Start(node, linear, joint) if free and alone and linear.groups == 1 else None


def _path(network: Network, start: str, end: str) -> set[int] | None:
    """The nodes between two tensors, each of which is linear in what it passes on."""
    graph, summed = network.graph, {s.node for s in network.channels.summed}
    paths: list[tuple[str, tuple[int, ...]]] = [(end, ())]
    seen = set[str]()
    while paths:
        name, nodes = paths.pop()
        if name == start:
            return set(nodes)
        op = graph.producer(name)
        if op is None or name in seen:
            continue
        seen.add(name)
        before = _moved(graph, op)
        both = op.type in ("MatMul", "Einsum") and not op.domain and op.index not in summed
        passed = [before] if before else [i for i in op.inputs if both and not graph.is_constant(i)]
        paths += [(i, (*nodes, op.index)) for i in passed]
    return None


def _moved(graph: Graph, op: Op) -> str | None:
    """The tensor of which a node passes elements on, perhaps scaled; None of another node."""
    if op.domain:
        return None
    if op.type in MOVING:
        return None if graph.is_constant(op.inputs[0]) else op.inputs[0]
    if op.type not in ("Mul", "Div") or len(op.inputs) != 2:
        return None
    for name, other in (op.inputs, op.inputs[::-1]):
        if graph.is_constant(other) and (op.type == "Mul" or name == op.inputs[0]):
            return name
    return None


def _ends(graph: Graph, name: str, path: set[int], reader: int) -> list[str]:
    """The tensors in which elements of ``name`` are read by others than ``reader``."""
    ends, stack, seen = [], [name], set[str]()
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in graph.outputs:
            ends.append(name)
        for op in graph.readers(name):
            if op.index == reader or op.type in MEASURING:
                continue
            if op.index in path or _moved(graph, op) == name:
                stack += [o for o in op.outputs if o]
            else:
                ends.append(name)
    return list(dict.fromkeys(ends))


class Probe:
    """The network with other values in place of what a layer makes."""

    def __init__(self, network: Network, start: _Start) -> None:
        self._network, self._joint = network, start.joint.tensor
        self._made = network.values[self._joint]
        self._axis = start.linear.axis % self._made.ndim

    def traced(self, name: str, ends: list[str]) -> tuple[Array | None, Ints]:
        """From which row each element of a tensor comes, and all of which ``ends`` have elements.

        None where its elements are scaled unequally.
        """
        made = self._made
        shape = [-1 if a == self._axis else 1 for a in range(made.ndim)]
        numbers = np.arange(1, made.shape[self._axis] + 1, dtype=made.dtype).reshape(shape)
        names = [name, *ends]
        both = [np.broadcast_to(line, made.shape) for line in (np.ones_like(numbers), numbers)]
        ones, values = self._run(both, names)
        scale = ones[name]
        if not (scale != 0).all() or np.ptp(scale) > _UNEVEN * np.abs(scale).max():
            return None, np.empty(0, np.int64)
        rows = [values[n] / np.where(ones[n] == 0, 1.0, ones[n]) - 1 for n in names]
        numbered = [np.rint(r).astype(np.int64) for r in rows]
        if np.abs(rows[0] - numbered[0]).max(initial=0.0) > _OFF:
            return None, np.empty(0, np.int64)
        others = [n.ravel() for n in numbered[1:]]
        return numbered[0], np.unique(np.concatenate([np.empty(0, np.int64), *others]))

    def shared(self, name: str, rows: Ints) -> Array:
        """A tensor once all ``rows`` make the same noise: equal channels are mixed alike."""
        made = np.array(np.moveaxis(self._made, self._axis, -1))
        noise = np.random.default_rng(0).standard_normal(made.shape[:-1])
        made[..., rows] = noise[..., None]
        (run,) = self._run([np.moveaxis(made, -1, self._axis)], [name])
        return run[name]

    def _run(self, values: Sequence[Array], names: list[str]) -> list[dict[str, Array]]:
        """Tensors for each of some values of the layer."""
        behind = [name for name in dict.fromkeys(names) if name != self._joint]
        runs = [{self._joint: np.ascontiguousarray(value)} for value in values]
        if not behind:
            return runs
        known = {**self._network.feeds, **self._network.values}
        part = _behind(self._network.model.proto, self._joint, known, behind)
        session = Session(part, optimize=True)
        read = [i.name for i in part.graph.input]
        return [run | session.run({n: (known | run)[n] for n in read}, behind) for run in runs]


def _behind(
    proto: onnx.ModelProto, start: str, known: Feeds, outputs: list[str]
) -> onnx.ModelProto:
    """The part of a model that makes ``outputs`` from the tensor ``start``, whatever made that.

    Extents that nodes measure are ``known``, and given too.
    """
    graph, needed, nodes = proto.graph, set(outputs), []
    given = {start}
    for node in reversed(graph.node):
        made = needed.intersection(node.output)
        if made and node.op_type in MEASURING and made <= known.keys():
            given |= made
        elif made - {start}:
            nodes.append(node)
            needed.update(*_read(node))
    part = onnx.ModelProto(ir_version=max(proto.ir_version, 4))
    part.opset_import.extend(proto.opset_import)
    part.functions.extend(proto.functions)
    part.graph.name = graph.name
    part.graph.node.extend(nodes[::-1])
    part.graph.initializer.extend(t for t in graph.initializer if t.name in needed)
    part.graph.sparse_initializer.extend(
        t for t in graph.sparse_initializer if t.values.name in needed
    )
    held = {t.name for t in part.graph.initializer}
    given |= {i.name for i in graph.input if i.name in needed - held}
    for name in sorted(given):
        kind = onnx.helper.np_dtype_to_tensor_dtype(known[name].dtype)
        port = onnx.helper.make_tensor_value_info(name, kind, known[name].shape)
        part.graph.input.append(port)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return part


def _read(node: onnx.NodeProto) -> Iterator[Iterable[str]]:
    """The tensors that a node reads, and the nodes in its bodies."""
    for inner in with_bodies([node]):
        yield inner.input
