"""Logits: what a last Softmax, LogSoftmax or Sigmoid reads."""

from __future__ import annotations

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import SAME_ELEMENTS

SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})
SQUASHES = SOFTMAXES | {"Sigmoid"}


def before_squash(graph: Graph, output: str) -> str:
    """The logits that a Softmax, LogSoftmax or Sigmoid makes ``output`` of, or itself."""
    op, _ = maker(graph, output)
    return op.inputs[0] if op is not None and op.type in SQUASHES else output


def maker(graph: Graph, tensor: str) -> tuple[Op | None, str]:
    """The node that makes a tensor, other than by passing on what it reads, and what it makes."""
    op = graph.producer(tensor)
    while op is not None and op.type in SAME_ELEMENTS:
        tensor = op.inputs[0]
        op = graph.producer(tensor)
    return op, tensor
