"""The places that attention as one node compares: its scores are in no tensor of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import onnx

from reprune_onnx.types import Shape

ATTENTIONS = {"Attention", "GroupQueryAttention", "MultiHeadAttention"}
_HEADS = {"num_heads", "q_num_heads"}  # the attributes that tell how often places are compared


def pairs(node: onnx.NodeProto, shapes: Mapping[str, Shape | None]) -> int:
    """The pairs of places of queries (b, …, q, d) and of keys (b, …, k, d); 0 where unknown.

    Any other node compares none.
    """
    if node.op_type not in ATTENTIONS:
        return 0
    inputs = [shapes.get(name) for name in node.input[:2]]
    queries, keys = inputs[0], inputs[-1] if len(inputs) > 1 else inputs[0]
    if not queries:
        return 0
    if not keys or len(keys) != len(queries):
        keys = queries  # queries, keys and values in one
    sizes = (queries[0], queries[-2], keys[-2])
    return 0 if None in sizes else prod(n or 0 for n in sizes)


def scores(node: onnx.NodeProto, shapes: Mapping[str, Shape | None]) -> int:
    """The numbers (b, heads, q, k) that the node holds while it runs; 0 where unknown."""
    queries = shapes.get(node.input[0]) if node.input else None
    apart = queries[1] if queries and len(queries) > 3 else None  # (b, heads, q, d)
    stated = max((a.i for a in node.attribute if a.name in _HEADS), default=1)
    return pairs(node, shapes) * (apart or stated)
