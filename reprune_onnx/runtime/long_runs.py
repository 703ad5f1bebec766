"""Runs that would take minutes, told before they begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import onnx

from reprune_onnx.inferred import stated_alone
from reprune_onnx.types import Shape

_ATTENTIONS = {"Attention", "GroupQueryAttention", "MultiHeadAttention"}
_PAIRS = 2**29  # of places that one attention may compare, in some seconds


def takes_long(proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether attention as one node would compare too many places with each other.

    Written as products it asks for memory, and ends soon; as one node it goes on for minutes.
    """
    nodes = [node for node in proto.graph.node if node.op_type in _ATTENTIONS]
    if not nodes:
        return False
    told = stated_alone(proto, shapes)
    return any(_pairs([told.get(name) for name in node.input[:2]]) > _PAIRS for node in nodes)


def _pairs(inputs: Sequence[Shape | None]) -> int:
    """The pairs of places of queries (b, q, d) and of keys (b, k, d); 0 where they are not told."""
    queries, keys = inputs[0], inputs[-1] if len(inputs) > 1 else inputs[0]
    if not queries:
        return 0
    if not keys or len(keys) != len(queries):
        keys = queries  # queries, keys and values in one
    sizes = (queries[0], queries[-2], keys[-2])
    return 0 if None in sizes else prod(n or 0 for n in sizes)
