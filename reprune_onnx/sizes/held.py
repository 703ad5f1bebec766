"""The number of values that the activations of a run hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import onnx

from reprune_onnx.attended import scores
from reprune_onnx.types import Shape

MOST = 2**28
"""Numbers that activations may hold at the same time: 1 GiB in float32."""


def held_by_a_node(nodes: Iterable[onnx.NodeProto], shapes: Mapping[str, Shape | None]) -> int:
    """The most numbers that one of the ``nodes`` reads and makes; what is not known counts none.

    The scores of attention as one node count too.
    """
    numbers = {
        name: prod(n or 0 for n in shape) for name, shape in shapes.items() if shape is not None
    }
    return max(
        (
            sum(numbers.get(name, 0) for name in {*node.input, *node.output}) + scores(node, shapes)
            for node in nodes
        ),
        default=0,
    )
