"""What ONNX's own shape inference says of a graph that cannot be followed."""

from __future__ import annotations

import re

import onnx

from reprune_onnx.analyzer.graph import Graph, Op

_REJECTED = re.compile(
    r"\(op_type:(?P<type>[^,)]+)(?:, node name: (?P<name>[^)]+))?\): (?:\[\w+\] )?(?P<why>.+)"
)


def rejected(graph: Graph, op: Op) -> str | None:
    """Return the first node that is rejected and why, where it stands before ``op``.

    It is the cause where ``op``, which reads what it makes, is where the trouble shows.
    """
    try:
        onnx.shape_inference.infer_shapes(graph.proto, strict_mode=True, data_prop=True)
    except Exception as error:  # a file beyond 2 GiB, or whatever else it stumbles over
        message = _REJECTED.search(str(error))
        if message is None:
            return None
        same = [other for other in graph.ops if other.type == message["type"]]
        if message["name"] is not None:
            same = [other for other in same if other.name == message["name"]]
        if len(same) == 1 and same[0].index < op.index:
            why = message["why"].rstrip(".")
            return f"{same[0].title} is rejected by ONNX's shape inference ({why})"
    return None
