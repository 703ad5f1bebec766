"""float16 inside the file, for what computes in the types that the file states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx

from reprune_onnx.analyzer.graph import Graph, Op, captured
from reprune_onnx.deployment.constants import folded
from reprune_onnx.deployment.half_types import Ports, half_ports
from reprune_onnx.deployment.ranges import Magnitude, constant_ranges, inner, measured_ranges
from reprune_onnx.model import copy_emptied
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model
from reprune_onnx.verification.compare import Arrays

ALLOWED = 2e-2
"""Of an output's scale: a deep network rounds to eleven bits at every layer."""

MARGIN = 4.0
"""The factor by which numbers may exceed what was measured without leaving float16."""

_HALF, _SINGLE = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class Beyond:
    """A node that stays float32 because float16 has not its range; ``reason`` names the tensor."""

    node: str
    op: str
    reason: str

    def as_json(self) -> dict[str, str]:
        """Return it in JSON's types."""
        return {"node": self.node, "op": self.op, "reason": self.reason}


@dataclass(frozen=True)
class Half:
    """A model in float16, and the nodes whose ``beyond`` keeps them in float32."""

    model: Model
    beyond: tuple[Beyond, ...]


Feeds = Callable[[], Iterator[tuple[Iterable[Arrays], float]]]
"""The inputs that ranges are measured on, and the margin that is wanted there."""


def half(model: Model, feeds: Feeds) -> Half:
    """Return a copy that computes in float16; its inputs and outputs stay float32.

    A tensor is float16 where every number on ``feeds`` fits into it with the margin, and so is
    every constant without one; nodes that make or read any other tensor stay float32, as do those
    of `half_ports`. Nothing is clamped. Nodes stand behind what they read.
    """
    constant_free, _ = folded(model)
    graph = Graph(constant_free)
    floats = _float_tensors(graph)
    ports = half_ports(graph, floats)
    beyond = find_beyond(graph, floats, ports, feeds)
    for index in beyond:
        del ports[index]
    proto = _written(graph, floats, ports)
    changed = replace(constant_free, proto=proto)
    return Half(changed, tuple(beyond.values()))


def beyond_half(model: Model, feeds: Feeds) -> tuple[Beyond, ...]:
    """Return the nodes of a float32 model that would leave float16, were it built in it."""
    graph = Graph(folded(model)[0])
    floats = _float_tensors(graph)
    return tuple(find_beyond(graph, floats, half_ports(graph, floats), feeds).values())


def find_beyond(
    graph: Graph, floats: set[str], ports: dict[int, Ports], feeds: Feeds
) -> dict[int, Beyond]:
    """Return which nodes with ``ports`` leave the range, by index."""
    ranges: list[tuple[dict[str, Magnitude], float]] = [(constant_ranges(graph, floats), 1.0)]
    ranges += [(measured_ranges(graph, floats, some), margin) for some, margin in feeds()]
    beyond = {}
    for op in graph.ops:
        if op.index in ports and (reason := _reason(op, ports[op.index], ranges)):
            beyond[op.index] = Beyond(op.name, op.type, reason)
    return beyond


def _reason(op: Op, ports: Ports, ranges: list[tuple[dict[str, Magnitude], float]]) -> str | None:
    read = [op.inputs[i] for i in sorted(ports.inputs)]
    made = [op.outputs[i] for i in sorted(ports.outputs)]
    for magnitudes, margin in ranges:
        for name in (*made, *read, inner(op.name)):
            reason = magnitudes[name].reason(margin) if name in magnitudes else None
            if reason is not None:
                return f"what adds up in it {reason}" if name == inner(op.name) else (
                    f"'{name}' {reason}"
                )  # fmt: skip
    return None


def _float_tensors(graph: Graph) -> set[str]:
    """The float32 tensors that nodes make or read: ONNX Runtime knows the types of all."""
    made = [o for op in graph.ops for o in op.outputs if o]
    ports = Session(graph.proto, optimize=False, outputs=made).outputs
    floats = {p.name for p in ports if p.dtype == np.float32}
    floats |= {t.name for t in graph.proto.graph.initializer if t.data_type == _SINGLE}
    floats |= {i.name for i in graph.inputs if i.type.tensor_type.elem_type == _SINGLE}
    return floats


def _written(graph: Graph, floats: set[str], ports: dict[int, Ports]) -> onnx.ModelProto:
    """The model with the types of ``ports``, and a Cast wherever a tensor is needed in both."""
    made = {op.outputs[i] for op in graph.ops for i in ports.get(op.index, Ports()).outputs}
    as_half, as_single = _needed(graph, floats, ports)
    only = (as_half - as_single) & _initializers(graph)
    both = {n for n in as_half - only if n in as_single or n not in made}
    taken = {*floats, *graph.outputs, *(o for op in graph.ops for o in op.outputs)}
    names = {n: _unused(f"{n}__half", taken) for n in sorted(both)}
    proto = copy_emptied(graph.proto, ())
    del proto.graph.node[:]
    for name in (i.name for i in graph.inputs):
        if name in names:
            proto.graph.node.append(_cast(name, names[name], _HALF))
    for op in graph.ops:
        halves = ports.get(op.index, Ports())
        proto.graph.node.append(_retyped(op, halves, names))
        for i, name in enumerate(op.outputs):
            if i in halves.outputs and name in as_single:
                proto.graph.node.append(_cast(_half_name(names, name), name, _SINGLE))
            elif i not in halves.outputs and name in names:
                proto.graph.node.append(_cast(name, names[name], _HALF))
    _retype_tensors(proto.graph, only, names)
    for value in (*proto.graph.value_info, *proto.graph.input):
        if value.name in only or (value.name in made and value.name not in as_single):
            value.type.tensor_type.elem_type = _HALF
    return proto


def _needed(graph: Graph, floats: set[str], ports: dict[int, Ports]) -> tuple[set[str], set[str]]:
    """The float tensors that something reads in float16, and those that it reads in float32."""
    as_half: set[str] = set()
    as_single = set(graph.outputs) & floats
    for op in graph.ops:
        halves = ports.get(op.index, Ports())
        as_half.update(op.inputs[i] for i in halves.inputs)
        as_half.update(op.outputs[i] for i in halves.outputs)
        as_single.update(n for i, n in enumerate(op.inputs) if i not in halves.inputs)
        as_single.update(captured(op))
    return as_half, as_single & floats


def _initializers(graph: Graph) -> set[str]:
    return {t.name for t in graph.proto.graph.initializer}


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _half_name(names: dict[str, str], name: str) -> str:
    return names.get(name, name)


def _retyped(op: Op, halves: Ports, names: dict[str, str]) -> onnx.NodeProto:
    node = onnx.NodeProto()
    node.CopyFrom(op.proto)
    node.name = op.name
    for i in halves.inputs:
        node.input[i] = _half_name(names, op.inputs[i])
    for i in halves.outputs:
        node.output[i] = _half_name(names, op.outputs[i])
        for attribute in node.attribute:
            if op.type == "Cast" and attribute.name == "to":
                attribute.i = _HALF
    return node


def _retype_tensors(graph: onnx.GraphProto, only: set[str], names: dict[str, str]) -> None:
    """Constants in float16: in their places where nothing reads them otherwise, else beside."""
    beside = []
    for tensor in graph.initializer:
        if tensor.name in only or tensor.name in names:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            new = onnx.numpy_helper.from_array(array, names.get(tensor.name, tensor.name))
            if tensor.name in only:
                tensor.CopyFrom(new)
            else:
                beside.append(new)
    graph.initializer.extend(beside)


def _cast(name: str, output: str, to: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [name], [output], f"{output}__cast", to=to)
