"""Local functions, loops and sequences written out in plain nodes, so that rules see them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import onnx

from reprune_onnx.analyzer.dense import as_dense
from reprune_onnx.analyzer.hoist import hoisted
from reprune_onnx.analyzer.loops import unrolled
from reprune_onnx.analyzer.sequences import as_slices
from reprune_onnx.analyzer.sharing import as_one
from reprune_onnx.analyzer.views import as_views
from reprune_onnx.errors import ModelError
from reprune_onnx.order import in_order
from reprune_onnx.types import Model

MOST = 1_000_000
"""Nodes of a model whose local functions are written out; real ones have some thousands."""

DEEPEST = 100


def written_out(model: Model) -> Model:
    """The model with local functions inlined, its nodes in order, sequences of parts as slices, and
    views as reshapes.

    Sparse constants are dense, and each is read under one name only (`sharing.py`). It is the model
    itself where nothing of that is to be done. The file is not touched: what is written later has
    the functions' nodes in place of the calls, under names that onnx makes from both. Functions
    that nobody calls stay. Raises ModelError for functions that call themselves, or more than
    `DEEPEST` of each other, or would make more than `MOST` nodes.
    """
    called = _called(model.proto)
    if called:
        from onnx.inliner import inline_selected_functions

        _check_size(model.proto)
        try:
            inlined = inline_selected_functions(model.proto, sorted(called))
        except Exception as error:  # onnx raises whatever its C++ threw
            raise ModelError(
                "the file's local functions cannot be written out"
                f" ({str(error).splitlines()[0]}): check it with onnx.checker"
            ) from error
        model = replace(model, proto=inlined)
    return as_one(as_views(as_slices(unrolled(as_dense(in_order(model))))))


def opened(model: Model) -> Model:
    """The model written out, with the branches of If beside them (`hoist.py`): what is analysed."""
    return hoisted(written_out(model))


def _check_size(proto: onnx.ModelProto) -> None:
    """A few functions that call each other often are few bytes and more nodes than memory holds."""
    functions = {(f.domain, f.name): f for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[onnx.NodeProto], above: frozenset[tuple[str, str]]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in above:
                raise ModelError(f"the local function '{node.op_type}' calls itself")
            if len(above) > DEEPEST:
                raise ModelError(f"local functions call each other more than {DEEPEST} deep")
            if key in functions and key not in sizes:
                sizes[key] = size(functions[key].node, above | {key})
            total += sizes.get(key, 1)
        return total

    n = size(proto.graph.node, frozenset())
    if n > MOST:
        raise ModelError(
            f"the file's local functions make {n:,} nodes, more than the {MOST:,} that are followed"
        )


def _called(proto: onnx.ModelProto) -> set[tuple[str, str]]:
    """The functions that the main graph or a body calls, directly or through others."""
    functions = {(f.domain, f.name): f for f in proto.functions}
    called: set[tuple[str, str]] = set()
    bodies = [proto.graph.node]
    while bodies:
        for node in bodies.pop():
            key = (node.domain, node.op_type)
            if key in functions and key not in called:
                called.add(key)
                bodies.append(functions[key].node)
            bodies += [body.node for a in node.attribute for body in (a.g, *a.graphs)]
    return called
