"""How many numbers the activations of a run hold."""

from __future__ import annotations

from math import prod

import onnx

from reprune_onnx.needs import extents_of

MOST = 2**28
"""Numbers that activations may hold at the same time: 1 GiB in float32."""


def held_by_a_node(graph: onnx.GraphProto) -> int:
    """The most numbers that one node of a graph reads and makes, as far as shapes are stated."""
    values = (*graph.value_info, *graph.input, *graph.output)
    numbers = {v.name: prod(extents_of(v) or ()) for v in values}
    return max(
        (sum(numbers.get(name, 0) for name in {*node.input, *node.output}) for node in graph.node),
        default=0,
    )
