"""Loops whose condition is computed from constants, as that of a counter: they are counted out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.op_kinds import RANDOM
from reprune_onnx.bodies import bodies
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Session

_MOST = 4096  # rounds that are counted


def counted_rounds(
    graph: Graph, body: onnx.GraphProto, states: Sequence[str], most: int
) -> int | None:
    """The rounds of a Loop, at most ``most``; None where its condition follows from other things.

    ``states`` are what the body's inputs behind the number of the round and the condition are in
    the first one.
    """
    needed = _needed(graph, body)
    if needed is None:
        return None
    inputs, outputs = [v.name for v in body.input], [o.name for o in body.output]
    carried = {name: k for k, name in enumerate(inputs[2:]) if name in needed}
    if not all(graph.is_constant(states[k]) for k in carried.values()):
        return None
    given = [name for name in inputs[:2] if name in needed]
    ends = [outputs[0], *(outputs[1 + k] for k in carried.values())]
    feeds = {name: graph.array(states[k]) for name, k in carried.items()}
    try:
        session = Session(_part(graph, body, needed, ends), optimize=False)
        for k in range(min(most, _MOST)):
            fed = dict(zip(inputs, (np.asarray(np.int64(k)), np.asarray(True)), strict=False))
            made = session.run({**feeds, **{name: fed[name] for name in given}})
            if not made[outputs[0]].all():
                return k + 1
            feeds = {name: made[outputs[1 + at]] for name, at in carried.items()}
    except ModelError:
        return None
    return most if most <= _MOST else None


def _needed(graph: Graph, body: onnx.GraphProto) -> set[str] | None:
    """The tensors that the condition follows from, in all rounds; None where one cannot be told."""
    inputs, outputs = [v.name for v in body.input], [o.name for o in body.output]
    makers = {name: node for node in body.node for name in node.output if name}
    held = {t.name for t in body.initializer} | {*inputs}
    waiting, needed = [outputs[0]], set[str]()
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers:
            node = makers[name]
            if node.domain or node.op_type in RANDOM or any(bodies(node)):
                return None
            waiting += [i for i in node.input if i]
        elif name in inputs[2:]:
            waiting.append(outputs[1 + inputs[2:].index(name)])
        elif name not in held and not graph.is_constant(name):
            return None
    return needed


def _part(
    graph: Graph, body: onnx.GraphProto, needed: set[str], ends: Sequence[str]
) -> onnx.ModelProto:
    """A model of what a condition follows from."""
    part = onnx.GraphProto(name="condition")
    part.node.extend(node for node in body.node if needed.intersection(node.output))
    part.input.extend(value for value in body.input if value.name in needed)
    part.initializer.extend(tensor for tensor in body.initializer if tensor.name in needed)
    defined = {name for node in part.node for name in node.output}
    defined |= {value.name for value in (*part.input, *part.initializer)}
    part.initializer.extend(
        numpy_helper.from_array(graph.array(name), name) for name in sorted(needed - defined)
    )
    part.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(ends))
    model = onnx.ModelProto(ir_version=graph.proto.ir_version, graph=part)
    model.opset_import.extend(graph.proto.opset_import)
    return model
