"""The number of rounds of a Loop or a Scan, where it follows from the file alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
from onnx import helper, numpy_helper

from reprune_onnx.analyzer.counted_rounds import counted_rounds
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.in_bodies import MOST
from reprune_onnx.analyzer.op_kinds import SAME_NUMBERS
from reprune_onnx.bodies import bodies
from reprune_onnx.inferred import stated_alone
from reprune_onnx.types import Model, Shape

_SEQUENCES_MOVE = 14  # the opset from which Identity passes on sequences


@dataclass(frozen=True)
class LoopRounds:
    """A loop of ``n`` rounds.

    The body's inputs ``carried`` are the outer tensors ``states`` in the first round; ``given`` are
    the nodes that make its other inputs of round ``k``, under names that begin so, each with the
    input's name, or "" where it makes what these nodes read. The last outputs of the body are
    ``scanned``: put together along an axis, from the last to the first where that says so.
    """

    body: onnx.GraphProto
    n: int
    carried: tuple[str, ...]
    states: tuple[str, ...]
    given: Callable[[int, str], Iterator[tuple[str, onnx.NodeProto]]]
    scanned: tuple[tuple[int, bool], ...]


def rounds_of(graph: Graph, op: Op) -> LoopRounds | None:
    """The rounds of a Loop or Scan; None where the file does not fix them, or they are too many."""
    body = next(bodies(op.proto), None)
    prefix = f"{op.result}.body"
    taken = {name for other in graph.ops for name in other.outputs}
    if body is None or any(name.startswith(prefix) for name in taken):
        return None
    sequences = [o for o in body.output if not o.type.HasField("tensor_type")]
    if sequences and op.opset < _SEQUENCES_MOVE:
        return None
    rounds = _KINDS[op.type](graph, op, body)
    fits = rounds is not None and 0 < rounds.n <= MOST // max(1, len(body.node))
    return rounds if fits else None


def _loop(graph: Graph, op: Op, body: onnx.GraphProto) -> LoopRounds | None:
    """Loop: a number of rounds, a condition, or both."""
    carried, states = tuple(v.name for v in body.input[2:]), op.inputs[2:]
    fixed = _with_known_shapes(graph)
    values = [_single(fixed, op.inputs[i]) if op.has(i) else None for i in (0, 1)]
    if (op.has(0) and values[0] is None) or (op.has(1) and values[1] is None):
        return None
    starts = values[1] is None or bool(values[1])
    most = None if values[0] is None else int(values[0])
    n: int | None = 0
    if starts:
        n = (
            most
            if _goes_on(graph, body)
            else counted_rounds(fixed, body, states, MOST if most is None else most)
        )
    if n is None:
        return None
    scans = len(body.output) - 1 - len(states)
    return LoopRounds(body, n, carried, states, partial(_counter, body), ((0, False),) * scans)


def _counter(body: onnx.GraphProto, k: int, stem: str) -> Iterator[tuple[str, onnx.NodeProto]]:
    """The number of a round and the condition, which holds."""
    for value, number in zip(body.input, (np.int64(k), np.bool_(True)), strict=False):
        rank = len(value.type.tensor_type.shape.dim)
        array = np.asarray(number).reshape((1,) * rank)
        tensor = numpy_helper.from_array(array)
        yield (
            value.name,
            helper.make_node("Constant", [], [stem + value.name], value=tensor),
        )


def _scan(graph: Graph, op: Op, body: onnx.GraphProto) -> LoopRounds | None:
    """Scan: as many rounds as there are rows in what it goes along."""
    n_scans = int(op.attrs["num_scan_inputs"])
    inputs, n_states = op.inputs, len(op.inputs) - n_scans
    if op.opset < 9:  # batches and lengths, as no exporter of today writes it
        return None
    axes = op.attrs.get("scan_input_axes") or [0] * n_scans
    backwards = op.attrs.get("scan_input_directions") or [0] * n_scans
    shapes = stated_alone(graph.proto, {})
    extents = {
        shape[axis]
        for name, axis in zip(inputs[n_states:], axes, strict=True)
        if (shape := shapes.get(name)) is not None
    }
    if len(extents) != 1 or None in extents:
        return None
    n = int(extents.pop() or 0)
    rows = [
        (value.name, name, axis, bool(back))
        for value, name, axis, back in zip(
            body.input[n_states:], inputs[n_states:], axes, backwards, strict=True
        )
    ]
    n_made = len(body.output) - n_states
    made = zip(
        op.attrs.get("scan_output_axes") or [0] * n_made,
        op.attrs.get("scan_output_directions") or [0] * n_made,
        strict=True,
    )
    scanned = tuple((axis, bool(back)) for axis, back in made)
    carried = tuple(v.name for v in body.input[:n_states])
    return LoopRounds(body, n, carried, inputs[:n_states], partial(_rows, rows, n), scanned)


def _rows(
    rows: list[tuple[str, str, int, bool]], n: int, k: int, stem: str
) -> Iterator[tuple[str, onnx.NodeProto]]:
    """The rows that a round of a Scan sees."""
    for name, source, axis, back in rows:
        at = numpy_helper.from_array(np.asarray(np.int64(n - 1 - k if back else k)))
        yield "", helper.make_node("Constant", [], [f"{stem}{name} at"], value=at)
        inputs = [source, f"{stem}{name} at"]
        yield name, helper.make_node("Gather", inputs, [stem + name], axis=axis)


_KINDS = {"Loop": _loop, "Scan": _scan}


def _goes_on(graph: Graph, body: onnx.GraphProto) -> bool:
    """Whether a body hands on a condition that is true."""
    makers = {name: node for node in body.node for name in node.output}
    constants = {t.name: t for t in body.initializer}
    name = body.output[0].name
    while name in makers and makers[name].op_type in SAME_NUMBERS:
        name = makers[name].input[0]
    if len(body.input) > 1 and name == body.input[1].name:
        return True
    if name in constants:
        return bool(numpy_helper.to_array(constants[name]).all())
    if name in makers:
        values = [a.t for a in makers[name].attribute if a.name == "value"]
        constant = makers[name].op_type == "Constant" and len(values) == 1
        return constant and bool(numpy_helper.to_array(values[0]).all())
    return graph.is_constant(name) and bool(graph.array(name).all())


def _single(graph: Graph, name: str) -> float | None:
    """The one number that a constant holds; None of anything else."""
    if not graph.is_constant(name):
        return None
    array = graph.array(name)
    return float(array.item()) if array.size == 1 else None


def _with_known_shapes(graph: Graph) -> Graph:
    """The graph, with a constant for each extent that it measures and the file fixes."""
    shapes = stated_alone(graph.proto, {})
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    measured: dict[str, Shape] = {}
    for node in proto.graph.node:
        extents: Shape = (None,)
        if node.op_type == "Shape" and node.input[0] in shapes:
            window = {a.name: a.i for a in node.attribute}
            extents = shapes[node.input[0]][window.get("start") : window.get("end")]
            measured[node.output[0]] = extents
        elif node.op_type == "Gather" and node.input[0] in measured:  # of one extent
            at = _single(graph, node.input[1])
            extents = (None,) if at is None else (measured[node.input[0]][int(at)],)
        if None not in extents:
            array = np.array([int(n or 0) for n in extents], dtype=np.int64)
            if node.op_type == "Gather":
                array = array.reshape(graph.shape(node.input[1]))
            del node.input[:], node.attribute[:]
            node.op_type = "Constant"
            value = numpy_helper.from_array(array)
            node.attribute.append(helper.make_attribute("value", value))
    return Graph(Model(proto))
