"""The branch that an If takes, where no open size decides about it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.hoist import BRANCHES, joined, prefix_of
from reprune_onnx.analyzer.numbers import Extent, Number, Numbers
from reprune_onnx.inferred import stated_alone
from reprune_onnx.shapes import stated_shapes
from reprune_onnx.types import Shape


class Taken:
    """The branches that If nodes take at the sizes that the file states or the user has ``given``.

    ``numbers`` are those of the walk: a condition is known as soon as its number is.
    """

    def __init__(
        self,
        graph: Graph,
        numbers: Mapping[str, Numbers],
        given: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._graph = graph
        self._numbers = numbers
        self._given = given
        self._by_prefix = {
            prefix_of(op.proto, branch): (op, branch == BRANCHES[0])
            for op in graph.ops
            if joined(op.proto)
            for branch in BRANCHES
        }

    def of(self, op: Op) -> bool | None:
        """Whether an If takes its then_branch; None where inputs or open sizes decide."""
        condition = op.inputs[0]
        if self._graph.is_constant(condition):
            value = self._graph.array(condition)
            return bool(value.item()) if value.size == 1 else None
        numbers = self._numbers.get(condition)
        if numbers is None or numbers.size != 1:
            return None
        (number,) = numbers.ravel()
        return bool(number.value) if number.value is not None and self._fixed(number) else None

    def passed(self, op: Op) -> list[str]:
        """The tensors that the taken branch gives as outputs of an If; none where it is unknown."""
        made = joined(op.proto)
        takes = self.of(op) if made else None
        return [] if takes is None else [both[0 if takes else 1] for both in made]

    def conditions(self) -> dict[str, bool]:
        """The conditions that are known, by the names of their tensors."""
        taken = {op.inputs[0]: self.of(op) for op, _ in self._by_prefix.values()}
        return {name: takes for name, takes in taken.items() if takes is not None}

    def idle(self, op: Op) -> bool:
        """Whether ``op`` is in a branch that is not taken, and that reads nothing to be cut."""
        branch = home = self._graph.branch_of(op)
        while branch:
            choosing, then = self._by_prefix[branch]
            takes = self.of(choosing)
            if takes is not None and takes != then:
                return home not in self._reading
            branch = self._graph.branch_of(choosing)
        return False

    @cached_property
    def _reading(self) -> set[str]:
        """The branches of which a node reads a constant of more than one element."""
        graph = self._graph
        return {
            graph.branch_of(op)
            for op in graph.ops
            if op.result not in graph.derived  # which no cut touches before it is read
            and any(graph.is_constant(i) and graph.shape(i) not in ((), (1,)) for i in op.inputs)
        }

    def _fixed(self, number: Number) -> bool:
        if not self._open:
            return True
        return all(self._is_fixed(extent) for term in number.terms for extent in term)

    def _is_fixed(self, extent: Extent) -> bool:
        shape = self._told.get(extent[0])
        return shape is not None and shape[extent[1]] is not None

    @cached_property
    def _open(self) -> bool:
        """Whether a size of an input is left open."""
        stated = stated_shapes(self._graph.proto, self._given)
        return any(shape is None or None in shape for shape in stated.values())

    @cached_property
    def _told(self) -> Mapping[str, Shape]:
        """The shapes that follow from what is stated and given alone."""
        return stated_alone(self._graph.proto, self._given)
