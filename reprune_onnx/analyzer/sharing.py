"""One weight under several names: whoever reads a copy of a stored tensor reads the tensor itself.

PyTorch's TorchScript exporter writes the second use of a weight as ``Identity(w)``, and computes
again what follows from it (its transpose, its standardised values). As other names these would be
other weights, cut each in its own way, and a network with two equal branches would become one with
two different ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import onnx

from reprune_onnx.analyzer.graph import FLOATS
from reprune_onnx.analyzer.op_kinds import RANDOM
from reprune_onnx.order import read_by
from reprune_onnx.types import Model

OWN = {"BatchNormalization": range(1, 5)}
"""Inputs whose copies stay copies: an exporter merges equal ones of layers never trained, and
training makes them differ (`copies.py`)."""


def as_one(model: Model) -> Model:
    """The model in which no node reads a copy of a constant, nor computes what another computes.

    Copies are what Identity makes of floating-point tensors that the file holds, in chains too, and
    nodes of one op with equal attributes that read the same constants. Those that nobody reads any
    more are left out. Parameters of BatchNormalization stay copies. It is ``model`` itself if
    nothing is shared so.
    """
    graph = model.proto.graph
    same = _same(graph)
    if not same:
        return model
    nodes = list(graph.node)
    unread: set[str] = set()
    for k, node in enumerate(graph.node):
        unshared = OWN.get(node.op_type, ())
        places = [i for i, name in enumerate(node.input) if name in same and i not in unshared]
        if places and node.op_type != "Identity":
            nodes[k] = onnx.NodeProto()
            nodes[k].CopyFrom(node)
            for i in places:
                unread.add(node.input[i])
                nodes[k].input[i] = same[node.input[i]]
    if not unread:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.node[:]
    proto.graph.node.extend(_without(nodes, unread, {o.name for o in graph.output}))
    return replace(model, proto=proto)


def _same(graph: onnx.GraphProto) -> dict[str, str]:
    """For each copy of a constant the name that it has first."""
    constants = {t.name for t in graph.initializer}
    floats = {t.name for t in graph.initializer if t.data_type in FLOATS}
    same: dict[str, str] = {}
    first: dict[tuple[Any, ...], list[str]] = {}
    for node in graph.node:
        if node.op_type == "Constant" and not node.domain:
            constants.update(node.output)
            if any(a.t.data_type in FLOATS or "float" in a.name for a in node.attribute):
                floats.update(node.output)
            continue
        read = [same.get(name, name) for name in node.input]
        pure = node.domain in ("", "ai.onnx") and node.op_type not in RANDOM | {"Dropout"}
        if not pure or not any(read) or not constants.issuperset(name for name in read if name):
            continue
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            continue
        constants.update(node.output)
        if floats.isdisjoint(read):
            continue
        floats.update(node.output)
        if node.op_type == "Identity":
            same |= dict.fromkeys(node.output, read[0])
            continue
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
        earlier = first.setdefault((node.op_type, *read, None, *attributes), list(node.output))
        same |= {b: a for a, b in zip(earlier, node.output, strict=False) if a and b and a != b}
    return same


def _without(
    nodes: list[onnx.NodeProto], unread: set[str], outputs: set[str]
) -> list[onnx.NodeProto]:
    """The nodes without those that make nothing but what is no longer read by anything."""
    read = Counter(name for node in nodes for name in read_by(node))
    kept = []
    for node in reversed(nodes):
        if unread.issuperset(node.output) and not any(read[o] or o in outputs for o in node.output):
            for name in read_by(node):
                read[name] -= 1
                unread.add(name)
        else:
            kept.append(node)
    return kept[::-1]
