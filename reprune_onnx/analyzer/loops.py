"""Loops whose number of rounds the file fixes, written out round by round, so that rules see them.

All rounds read the weights of one body, so that these are tied and cut once. What does not change
from round to round is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.hoist import renamed
from reprune_onnx.analyzer.in_bodies import layers_in
from reprune_onnx.analyzer.op_kinds import LOOPS, RANDOM
from reprune_onnx.analyzer.rounds import LoopRounds, rounds_of
from reprune_onnx.note import Note
from reprune_onnx.order import read_by
from reprune_onnx.types import Model

_DEEPEST = 8  # loops within each other


def unrolled(model: Model) -> Model:
    """The model without the Loop and Scan nodes that hold layers and run a fixed number of times.

    It is the model itself where there are none. A loop stays where sizes that are left open or
    values decide how often it runs (`rounds.py`).
    """
    for _ in range(_DEEPEST):  # a loop within a loop stands in the main graph after its own round
        if not any(node.op_type in LOOPS for node in model.proto.graph.node):
            return model
        graph = Graph(model)
        holding = [op for op in graph.ops if op.type in LOOPS and layers_in(graph, op)]
        rounds = {op.index: r for op in holding if (r := rounds_of(graph, op)) is not None}
        if not rounds:
            return model
        model = replace(model, proto=_written(graph, rounds))
    return model


def told(model: Model, written: Model) -> tuple[Note, ...]:
    """Notes on the loops of ``model`` that are written out in ``written``."""
    before, after = (
        sum(node.op_type in LOOPS for node in m.proto.graph.node) for m in (model, written)
    )
    n = before - after
    if n <= 0:
        return ()
    loops = "loop that runs" if n == 1 else "loops that run"
    return (
        Note(
            f"{n} {loops} a fixed number of times: written out round by round, with one set of"
            " weights for all rounds"
        ),
    )


def _written(graph: Graph, rounds: dict[int, LoopRounds]) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    del proto.graph.node[:]
    for op in graph.ops:
        if op.index in rounds:
            writing = _Writing(proto.graph, op, rounds[op.index])
            proto.graph.node.extend(writing.nodes())
        else:
            proto.graph.node.append(op.proto)
    return proto


@dataclass
class _Writing:
    """One loop, round by round; constants of its body go into ``graph``."""

    graph: onnx.GraphProto
    op: Op
    rounds: LoopRounds
    _once: dict[str, str] = field(default_factory=dict)  # names of what all rounds share

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """The nodes that stand in place of the loop."""
        body, prefix = self.rounds.body, f"{self.op.result}.body"
        self._once = {name: f"{prefix}/{name}" for name in self._constants(body)}
        changing = {value.name for value in body.input}
        again: list[onnx.NodeProto] = []
        for node in body.node:
            if _is_fixed(node, changing):
                self._once |= {name: f"{prefix}/{name}" for name in node.output if name}
                yield self._renamed(node, self._once, "")
            else:
                changing.update(node.output)
                again.append(node)
        states = list(self.rounds.states)
        parts: list[list[str]] = [[] for _ in self.rounds.scanned]
        for k in range(self.rounds.n):
            stem = f"{prefix}{k}/"
            names = self._once | {n: stem + n for node in again for n in node.output if n}
            names |= dict(zip(self.rounds.carried, states, strict=True))
            for name, made in self.rounds.given(k, stem):
                names |= {name: made.output[0]} if name else {}
                yield made
            for node in again:
                yield self._renamed(node, names, f"{k}/")
            made_by = [names.get(output.name, output.name) for output in body.output]
            made_by = made_by[len(made_by) - len(states) - len(parts) :]  # without a condition
            states = made_by[: len(states)]
            for part, name in zip(parts, made_by[len(states) :], strict=True):
                part.append(name)
        yield from self._results(states, parts)

    def _results(
        self, states: Sequence[str], parts: Sequence[Sequence[str]]
    ) -> Iterator[onnx.NodeProto]:
        outputs = list(self.op.outputs) + [""] * len(parts)
        for name, last in zip(outputs, states, strict=False):
            if name:
                yield helper.make_node("Identity", [last], [name])
        for name, part, (axis, back) in zip(
            outputs[len(states) :], parts, self.rounds.scanned, strict=False
        ):
            if not name:
                continue
            rows = []
            for k, made in enumerate(part):
                rows.append(f"{self.op.result}.body{k}/row of {name}")
                yield from self._unsqueezed(made, rows[-1], axis)
            yield helper.make_node("Concat", rows[::-1] if back else rows, [name], axis=axis)

    def _unsqueezed(self, name: str, made: str, axis: int) -> Iterator[onnx.NodeProto]:
        if self.op.opset < 13:
            yield helper.make_node("Unsqueeze", [name], [made], axes=[axis])
            return
        axes = numpy_helper.from_array(np.array([axis]))
        yield helper.make_node("Constant", [], [f"{made} axes"], value=axes)
        yield helper.make_node("Unsqueeze", [name, f"{made} axes"], [made])

    def _constants(self, body: onnx.GraphProto) -> list[str]:
        """The constants that a body holds, which are put into the graph."""
        prefix, start = f"{self.op.result}.body/", len(self.graph.initializer)
        before = len(self.graph.sparse_initializer)
        self.graph.initializer.extend(body.initializer)
        self.graph.sparse_initializer.extend(body.sparse_initializer)
        dense = list(self.graph.initializer)[start:]
        sparse = list(self.graph.sparse_initializer)[before:]
        tensors = dense + [t.values for t in sparse]
        names = [tensor.name for tensor in tensors]
        for tensor in tensors:
            tensor.name = prefix + tensor.name
        return names

    def _renamed(self, node: onnx.NodeProto, names: dict[str, str], round_: str) -> onnx.NodeProto:
        copy = renamed(node, names)
        node_name = node.name or next(name for name in node.output if name)
        copy.name = f"{self.op.name}/{round_}{node_name.lstrip('/')}"
        return copy


def _is_fixed(node: onnx.NodeProto, changing: set[str]) -> bool:
    """Whether a node of a body makes the same in all rounds."""
    pure = node.domain in ("", "ai.onnx") and node.op_type not in RANDOM
    return pure and not changing.intersection(read_by(node))
