"""Branches taken out as a whole, with constants in their place.

Without any channel that it reads, a layer that closes a branch gives its bias. What the file makes
of that, up to the ops that join the branch with the rest, is computed here; the result is stored
under the name of the activation that it replaces, so that the ops that join it stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.activations.linear import Linear
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.whole_branches import path_of_constants
from reprune_onnx.order import read_by
from reprune_onnx.precision import as_float32
from reprune_onnx.results import TensorCut
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import ChannelMap, Floats, Ints, Model, WholeBranch

_NONE: Ints = np.empty(0, dtype=np.int64)
Array = NDArray[Any]


def take_out(
    proto: onnx.ModelProto, graph: Graph, channels: ChannelMap, branches: Sequence[WholeBranch]
) -> None:
    """Take ``branches`` of the original ``graph`` out of ``proto``, what a cut has left of it."""
    left = Graph(Model(proto))
    before = _read(proto)
    constants: dict[str, Array] = {}
    inside: set[str] = set()
    for branch in branches:
        for node in branch.closing:
            op = left.producer(graph.ops[node].result)
            assert op is not None
            bias = Linear(op, left.shape(op.inputs[1])).bias(left)
            values = constants_behind(graph, channels, node, left, bias)
            constants |= {name: values[name] for name in branch.ends if name in values}
            inside |= values.keys()
    nodes = [n for n in proto.graph.node if not inside.intersection(n.output)]
    nodes = _still_read(nodes, before, {o.name for o in proto.graph.output})
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    _tidy(proto, before, constants)


def cuts_of(
    channels: ChannelMap, branches: Sequence[WholeBranch], cuts: Sequence[TensorCut], left: set[str]
) -> list[TensorCut]:
    """The cuts of the tensors that are ``left``, and those that leave nothing of the others.

    Nothing is left of the filters of a group that is gone, and of the inputs of the layers that
    read it last.
    """
    gone = {i for branch in branches for i in branch.groups}
    closing = {node for branch in branches for node in branch.closing}
    layers = [p.layer for g in channels.groups if g.id in gone for p in g.producers]
    emptied = [(layer.weight, layer.out_axis) for layer in layers]
    emptied += [(s.tensor, s.axis) for s in channels.sites if s.role == "in" and s.node in closing]
    return [cut for cut in cuts if cut.initializer in left] + [
        TensorCut(weight, axis, _NONE)
        for weight, axis in dict.fromkeys(emptied)
        if weight not in left
    ]


def constants_behind(
    graph: Graph, channels: ChannelMap, node: int, left: Graph, y: Floats
) -> dict[str, Array]:
    """Return what a closing layer's outputs and the tensors behind it are, by name.

    ``y (n_out,)`` are the outputs, the same at all positions; ``left`` is the graph whose
    constants the nodes read: the original one, or what a cut has left of it.
    """
    path = path_of_constants(graph, channels, node)
    assert path is not None  # it was there when the branch was found
    first, *others = (graph.ops[k].result for k in path[0])
    op = left.producer(first)
    assert op is not None
    shape = [1] * len(channels.tensors[first].shape)
    shape[Linear(op, left.shape(op.inputs[1])).axis] = len(y)
    constants = {first: y.reshape(shape).astype(_type_of(left, first))}
    return constants | (_computed(left, constants, others) if others else {})


def _type_of(graph: Graph, name: str) -> np.dtype[Any]:
    """The numpy type of an activation."""
    kind = graph.activation_type(name) or onnx.TensorProto.FLOAT
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))


def _computed(left: Graph, constants: dict[str, Array], names: list[str]) -> dict[str, Array]:
    """What the nodes that make ``names`` compute of ``constants`` and of others in the graph."""
    nodes = [n for n in left.proto.graph.node if set(names).intersection(n.output)]
    part = onnx.GraphProto(name="constants", node=nodes)
    given = {name for node in nodes for name in read_by(node) if name not in names} - {*constants}
    arrays = constants | {name: left.array(name) for name in given}
    part.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in arrays.items())
    part.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    model = onnx.ModelProto(ir_version=max(4, left.proto.ir_version), graph=part)
    model.opset_import.extend(left.proto.opset_import)
    made = Session(as_float32(model), optimize=False).run({})
    return {name: array.astype(_type_of(left, name)) for name, array in made.items()}


def _still_read(
    nodes: list[onnx.NodeProto], before: Collection[str], outputs: set[str]
) -> list[onnx.NodeProto]:
    """The nodes without those that only what has gone did read; what nobody read stays."""
    while True:
        now = outputs | {name for node in nodes for name in read_by(node)}
        alive = [
            node
            for node in nodes
            if now.intersection(node.output) or not set(node.output).intersection(before)
        ]
        if len(alive) == len(nodes):
            return alive
        nodes = alive


def _tidy(proto: onnx.ModelProto, before: set[str], constants: dict[str, Array]) -> None:
    """Remove the weights that are not read any more, and store ``constants``, by name."""
    graph = proto.graph
    gone = before - _read(proto) - {o.name for o in graph.output}
    inputs = {tensor.name for tensor in graph.initializer} & gone  # of old files, inputs too
    for tensors in (graph.initializer, graph.sparse_initializer, graph.value_info, graph.input):
        dropped = inputs if tensors is graph.input else gone | constants.keys()
        kept = [tensor for tensor in tensors if _name(tensor) not in dropped]
        del tensors[:]
        tensors.extend(kept)
    for name, array in constants.items():
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        if proto.ir_version < 4:  # there, every initializer is also an input
            kind = graph.initializer[-1].data_type
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))


def _name(tensor: Any) -> str:
    return str(tensor.values.name if isinstance(tensor, onnx.SparseTensorProto) else tensor.name)


def _read(proto: onnx.ModelProto) -> set[str]:
    """The tensors that nodes read."""
    return {name for node in proto.graph.node for name in read_by(node)}
