"""Under which conditions each branch of an If runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reprune_onnx.analyzer.graph import Graph, Op, captured
from reprune_onnx.analyzer.hoist import BRANCHES, joined, prefix_of
from reprune_onnx.analyzer.op_kinds import RANDOM, SAME_NUMBERS

Decided = dict[str, bool]
"""The conditions of some If, by the names of their tensors, and what they are to be."""

_SMALL = 16  # elements of a constant that is compared with another one


def conditions(graph: Graph, decided: Mapping[str, bool]) -> dict[str, Decided | None]:
    """By the prefix of each branch (`hoist.py`): what is to be decided so that it runs.

    That is the condition of its If and of those around it, and of all others that are the same
    computed again, or its contrary. None of a branch that cannot run, because that asks for
    opposites, or because the condition is ``decided`` (`taken.py`).
    """
    choosing = [op for op in graph.ops if joined(op.proto)]
    values = _Values(graph)
    roots = {op.inputs[0]: values.root(op.inputs[0]) for op in choosing}
    needs: dict[str, dict[int, bool] | None] = {"": {}}
    for op in reversed(choosing):  # an If stands behind those in its branches
        root, same = roots[op.inputs[0]]
        around = needs[graph.branch_of(op)]
        for branch in BRANCHES:
            takes = branch == "then_branch"
            possible = decided.get(op.inputs[0], takes) == takes
            if around is None or not possible or around.get(root, takes == same) != (takes == same):
                needs[prefix_of(op.proto, branch)] = None
            else:
                needs[prefix_of(op.proto, branch)] = around | {root: takes == same}
    del needs[""]
    return {
        prefix: None
        if needed is None
        else {name: needed[root] == same for name, (root, same) in roots.items() if root in needed}
        for prefix, needed in needs.items()
    }


def title_of(graph: Graph, prefix: str) -> str:
    """A branch as messages name it."""
    name, _, branch = prefix[:-1].rpartition(".")
    op = graph.producer(name)
    return f"the {branch} of {op.title if op is not None else name}"


class _Values:
    """Numbers for tensors, the same for those that are computed alike from the same."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._known: dict[str, int] = {}

    def root(self, name: str) -> tuple[int, bool]:
        """The number of what a truth value is, and whether it is that or its contrary."""
        same = True
        while (op := self._graph.producer(name)) is not None and not op.domain:
            if op.type == "Not":
                same = not same
            elif op.type not in SAME_NUMBERS:
                break
            name = op.inputs[0]
        return self._number(name), same

    def _number(self, name: str) -> int:
        stack = [name]
        while stack:
            op = self._graph.producer(stack[-1])
            inputs = self._pure(stack[-1], op)
            waiting = [i for i in inputs if i not in self._known]
            if waiting:
                stack += waiting
                continue
            tensor = stack.pop()
            self._known[tensor] = self._numbers.setdefault(
                self._key(tensor, op, inputs), len(self._numbers)
            )
        return self._known[name]

    def _pure(self, name: str, op: Op | None) -> Sequence[str]:
        """The inputs that a tensor follows from, where it follows from them alone."""
        if op is None or op.domain or op.type in RANDOM or captured(op):
            return ()
        return [i for i in op.inputs if i]

    def _is_small(self, name: str, op: Op | None) -> bool:
        """Whether the file holds a few numbers under this name."""
        graph = self._graph
        held = graph.is_constant(name) and (op is None or op.type == "Constant")
        return held and math.prod(graph.shape(name)) <= _SMALL

    def _key(self, name: str, op: Op | None, inputs: Sequence[str]) -> tuple[Any, ...]:
        if self._is_small(name, op):
            array = self._graph.array(name)
            return array.dtype.str, array.shape, array.tobytes()
        if op is None or not inputs:
            return (name,)
        attributes = sorted(a.SerializeToString(deterministic=True) for a in op.proto.attribute)
        numbers = [self._known[i] for i in inputs]
        return op.type, op.outputs.index(name), *numbers, None, *attributes
