"""Ops that read numbers and constants alone, and what they make has channels all the same."""

from __future__ import annotations

from collections.abc import Callable

from reprune_onnx.analyzer.graph import FLOATS, Graph, Op
from reprune_onnx.analyzer.numbers import Numbers
from reprune_onnx.types import Ints

_COUNTED = {"ConstantOfShape", "Expand"}  # a number of their shape may be that of channels
_REPEATING = {"Expand", "Tile"}  # what they repeat may have channels


def has_channels(
    graph: Graph,
    op: Op,
    numbers: dict[str, Numbers],
    counted: Callable[[Op, int, int], Ints | None],
) -> bool:
    """Whether ``op`` makes channels, though none comes to it.

    Numbers of its shape are numbers of channels, as ``counted`` tells, or it repeats a constant, as
    a class token is for every image.
    """
    last = len(op.inputs) - 1
    if op.domain or last < 0 or op.inputs[last] not in numbers:
        return False
    if op.type in _REPEATING and is_wide(graph, op.inputs[0]):
        return True
    if op.type not in _COUNTED:
        return False
    return any(counted(op, last, k) is not None for k in range(numbers[op.inputs[last]].size))


def is_wide(graph: Graph, name: str) -> bool:
    """Whether a constant holds fractions, more than one."""
    if not graph.is_constant(name) or graph.element_type(name) not in FLOATS:
        return False
    return any(n > 1 for n in graph.shape(name))
