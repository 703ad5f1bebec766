"""A view that is written as a gather of all numbers in their order: written as a Reshape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.inferred import stated_alone
from reprune_onnx.reference import reference
from reprune_onnx.shapes import stated_shapes
from reprune_onnx.types import Model, Shape

_IMAGES = (2, 3)  # for which the numbers are looked at
_OPEN = 32  # another extent that is left open, as it is tried
_MOST = 1 << 20  # numbers that are looked at


def as_views(model: Model) -> Model:
    """The model with a Reshape for each Gather that takes all numbers of a tensor in their order.

    PyTorch's exporter writes ``as_strided`` so: the tensor is made flat, and indices that the graph
    computes from sizes give each number its place. A Gather stays where these depend on anything
    but sizes, or where they are not 0, 1, 2, … for two and for three images.
    """
    nodes = model.proto.graph.node
    reshaped = {name for node in nodes if node.op_type == "Reshape" for name in node.output}
    if not any(node.op_type == "Gather" and node.input[0] in reshaped for node in nodes):
        return model
    graph = Graph(model)
    flat = {op.index: made for op in graph.ops if (made := _flattened(graph, op)) is not None}
    if not flat:
        return model
    seen = [_Sizes(graph, n) for n in _IMAGES]
    views: dict[int, tuple[str, list[int]]] = {}
    for index, source in flat.items():
        shapes = [sizes.view(graph.ops[index], source) for sizes in seen]
        target = _target(*shapes)
        if target is not None:
            views[index] = source, target
    return replace(model, proto=_rewritten(graph, views)) if views else model


def _flattened(graph: Graph, op: Op) -> str | None:
    """The tensor of which a Gather reads numbers, all of which stand in a row.

    A list of constant places is left to the rule of Gather.
    """
    if op.type != "Gather" or op.domain or op.attrs.get("axis", 0):
        return None
    if graph.is_constant(op.inputs[1]) and len(graph.shape(op.inputs[1])) < 2:
        return None
    flat = graph.producer(op.inputs[0])
    if flat is None or flat.type != "Reshape" or not graph.is_constant(flat.inputs[1]):
        return None
    row = graph.array(flat.inputs[1]).tolist() == [-1]
    return flat.inputs[0] if row and not graph.is_constant(flat.inputs[0]) else None


class _Sizes:
    """The shapes of tensors, and the numbers that follow from shapes, for so many images."""

    def __init__(self, graph: Graph, images: int) -> None:
        self._graph = graph
        given = {}
        for name, shape in stated_shapes(graph.proto, {}).items():
            if shape is not None:
                assumed = (images, *[_OPEN] * len(shape))
                given[name] = tuple(n or a for n, a in zip(shape, assumed, strict=False))
        self._shapes: Mapping[str, Shape] = stated_alone(graph.proto, given)
        self._numbers: dict[str, NDArray[Any] | None] = {}

    def view(self, op: Op, source: str) -> tuple[int, ...] | None:
        """The shape that a Gather gives all numbers of ``source``; None where it does not."""
        shape = self._shapes.get(source)
        places = self._number(op.inputs[1])
        if shape is None or None in shape or places is None:
            return None
        in_order = np.array_equal(places.ravel(), np.arange(prod(n or 0 for n in shape)))
        return places.shape if in_order else None

    def _number(self, name: str) -> NDArray[Any] | None:
        if self._graph.is_constant(name):
            return self._graph.array(name) if prod(self._graph.shape(name)) <= _MOST else None
        if name not in self._numbers:
            self._numbers[name] = None  # what depends on itself is not known
            op = self._graph.producer(name)
            if op is not None and not op.domain:
                self._numbers |= zip(op.outputs, self._computed(op) or (), strict=False)
        return self._numbers[name]

    def _computed(self, op: Op) -> list[NDArray[Any]] | None:
        """The results of a node on shapes and on numbers that follow from them; None for others."""
        if op.type in ("Shape", "Size"):
            shape = self._shapes.get(op.inputs[0])
            if shape is None or None in shape:
                return None
            like = np.broadcast_to(np.float32(0), [n or 0 for n in shape])
            feeds: list[NDArray[Any] | None] = [like]
        else:
            feeds = [self._number(name) if name else None for name in op.inputs]
            if any(name and array is None for name, array in zip(op.inputs, feeds, strict=True)):
                return None
        return reference(op.proto, op.opset)(feeds)


def _target(*shapes: tuple[int, ...] | None) -> list[int] | None:
    """The shape for a Reshape, -1 where it grows with the images."""
    two, three = shapes
    if two is None or three is None or len(two) != len(three):
        return None
    target = [a if a == b else -1 for a, b in zip(two, three, strict=True)]
    return target if target.count(-1) <= 1 else None


def _rewritten(graph: Graph, views: Mapping[int, tuple[str, list[int]]]) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    del proto.graph.node[:]
    taken = {name for op in graph.ops for name in (*op.inputs, *op.outputs)}
    unread = _only_for(graph, views)
    for op in graph.ops:
        if op.index in views:
            source, target = views[op.index]
            name = f"{op.outputs[0]}_shape"
            while name in taken:
                name += "_"
            taken.add(name)
            tensor = numpy_helper.from_array(np.array(target, np.int64))
            proto.graph.node.append(helper.make_node("Constant", [], [name], name, value=tensor))
            reshape = helper.make_node("Reshape", [source, name], op.outputs, op.proto.name)
            proto.graph.node.append(reshape)
        elif op.index not in unread:
            proto.graph.node.append(op.proto)
    read = {name for node in proto.graph.node for name in node.input} | set(graph.outputs)
    inputs = {value.name for value in proto.graph.input}
    before = {name for op in graph.ops for name in op.inputs}
    for tensor in [t for t in proto.graph.initializer if t.name in before - read - inputs]:
        proto.graph.initializer.remove(tensor)
    return proto


def _only_for(graph: Graph, views: Mapping[int, tuple[str, list[int]]]) -> set[int]:
    """The nodes that nothing but these Gathers reads: flat tensors, and what makes places."""
    gone = set(views)
    stay = {*graph.outputs, *(source for source, _ in views.values())}
    for op in reversed(graph.ops):
        readers = [r.index for name in op.outputs for r in graph.readers(name)]
        if readers and gone.issuperset(readers) and stay.isdisjoint(op.outputs):
            gone.add(op.index)
    return gone - set(views)
