"""The nodes that can compute in float16, by ONNX's schemas and a few reasons of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import MEASURING

_CHOICES = {"ArgMax", "ArgMin", "NonMaxSuppression", "RoiAlign", "TopK"}
"""The ops that pick positions: rounded scores tie, and rounded boxes move by whole pixels."""


@dataclass(frozen=True)
class Ports:
    """The inputs and outputs of a node, by place, that are float16 where the node computes in it.

    ``inputs`` and ``outputs`` are empty for a node that stays float32.
    """

    inputs: frozenset[int] = frozenset()
    outputs: frozenset[int] = frozenset()


def half_ports(graph: Graph, floats: set[str]) -> dict[int, Ports]:
    """Return the ports of every node that can compute in float16, by the node's index.

    ``floats`` are the float32 tensors. Left out is what has a body (If, Loop, Scan), an op of
    another domain, what computes sizes rather than activations, what chooses positions, and what
    makes floats of a type that nothing but an attribute says; a Cast is the exception.
    """
    moving = _activations(graph)
    ports_by_node = {}
    for op in graph.ops:
        if op.domain or op.type in _CHOICES or not moving & set(op.outputs) or _has_body(op):
            continue
        ports = _ports(op, floats)
        if ports.inputs or ports.outputs:
            ports_by_node[op.index] = ports
    return ports_by_node


def _activations(graph: Graph) -> set[str]:
    """The tensors that depend on the values of inputs, not only on their sizes."""
    moving = {i.name for i in graph.inputs}
    for op in graph.ops:
        if op.type not in MEASURING and (_has_body(op) or moving & set(op.inputs)):
            moving.update(o for o in op.outputs if o)
    return moving


def _has_body(op: Op) -> bool:
    return any(isinstance(value, onnx.GraphProto) for value in op.attrs.values())


def _ports(op: Op, floats: set[str]) -> Ports:
    try:
        schema = onnx.defs.get_schema(op.type, op.opset)
    except onnx.defs.SchemaError:
        return Ports()
    wide = {c.type_param_str for c in schema.type_constraints
            if "tensor(float16)" in c.allowed_type_strs}  # fmt: skip
    kinds = [_kind(schema.inputs, i) for i in range(len(op.inputs))]
    inputs = {i for i, name in enumerate(op.inputs) if name in floats and kinds[i] in wide}
    bound = {kinds[i] for i in inputs}
    outputs = {i for i, name in enumerate(op.outputs) if name in floats}
    made = {i for i in outputs if _kind(schema.outputs, i) in bound}
    if op.type == "Cast":
        return Ports(frozenset(inputs), frozenset(outputs))
    return Ports(frozenset(inputs), frozenset(made))


def _kind(formal: Any, i: int) -> str:
    """The type of a port as the schema calls it; the last one may be repeated."""
    return str(formal[min(i, len(formal) - 1)].type_str) if formal else ""
