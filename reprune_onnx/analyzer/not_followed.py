"""Why channels stay at a node that no rule follows."""

from __future__ import annotations

from collections.abc import Collection

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.in_bodies import MOST, layers_in


def not_followed(graph: Graph, op: Op, has_rule: bool, blind: Collection[str]) -> str:
    """The sentence; ``blind`` are the inputs of ``op`` whose rank is not known."""
    if not has_rule and op.domain:
        return f"{op.title} belongs to the custom domain '{op.domain}'"
    if not has_rule and layers_in(graph, op):
        return (
            f"{op.title} is not written out, which takes a number of rounds that the file fixes,"
            f" and at most {MOST:,} nodes"
        )
    if not has_rule:
        return f"no rule for op {op.title}"
    if blind:
        return f"{op.title} is not understood, as the rank of '{min(blind)}' is not known"
    return f"{op.title} is not understood with these inputs and attributes"
