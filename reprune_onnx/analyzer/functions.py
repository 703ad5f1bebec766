"""What calls or bundles is written out in plain nodes, so that rules see them."""

from __future__ import annotations

from dataclasses import replace

import onnx

from reprune_onnx.analyzer.sequences import as_slices
from reprune_onnx.types import Model


def written_out(model: Model) -> Model:
    """The model with the local functions that it calls inlined, and sequences of parts as slices.

    It is the model itself if it has neither. The file is not touched: what is written later has the
    functions' nodes in place of the calls, under names that onnx makes from both. Functions that
    nobody calls stay.
    """
    called = _called(model.proto)
    if called:
        from onnx.inliner import inline_selected_functions

        model = replace(model, proto=inline_selected_functions(model.proto, sorted(called)))
    return as_slices(model)


def _called(proto: onnx.ModelProto) -> set[tuple[str, str]]:
    """The functions that the main graph calls, directly or through others."""
    functions = {(f.domain, f.name): f for f in proto.functions}
    found: set[tuple[str, str]] = set()
    bodies = [proto.graph.node]
    while bodies:
        for node in bodies.pop():
            key = (node.domain, node.op_type)
            if key in functions and key not in found:
                found.add(key)
                bodies.append(functions[key].node)
    return found
