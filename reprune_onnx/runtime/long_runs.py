"""Runs that would take minutes, told before they begin."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from reprune_onnx.attended import ATTENTIONS, pairs
from reprune_onnx.inferred import stated_alone

_PAIRS = 2**29  # of places that one attention may compare, in some seconds


def takes_long(proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether attention as one node would compare too many places with each other.

    Written as products it asks for memory, and ends soon; as one node it goes on for minutes.
    """
    nodes = [node for node in proto.graph.node if node.op_type in ATTENTIONS]
    if not nodes:
        return False
    told = stated_alone(proto, shapes)
    return any(pairs(node, told) > _PAIRS for node in nodes)
