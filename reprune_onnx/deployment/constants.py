"""Constants as initializers: what the graph computes from constants alone is computed here."""

from __future__ import annotations

import onnx

from reprune_onnx.analyzer.graph import Graph, captured
from reprune_onnx.model import copy_emptied
from reprune_onnx.types import Model


def folded(model: Model) -> tuple[Model, list[str]]:
    """Return a copy in which every such tensor is an initializer, and the names of these.

    Every node has a name of its own then: the file's, or the one the analysis gives it.
    """
    graph = Graph(model)
    read: dict[str, None] = {}
    kept: list[onnx.NodeProto] = []
    outputs = set(graph.outputs)
    for op in graph.ops:
        derived = bool(op.outputs) and all(o in graph.derived for o in op.outputs if o)
        if derived and not outputs & set(op.outputs):
            continue
        node = onnx.NodeProto()
        node.CopyFrom(op.proto)
        node.name = op.name
        kept.append(node)
        if not derived:
            read.update(dict.fromkeys((*op.inputs, *sorted(captured(op)))))
    names = [name for name in read if name in graph.derived and name not in outputs]
    if any(set(node.output) & graph.derived.keys() for node in kept):
        # A graph output that is constant keeps the nodes that compute it.
        kept = [_named(op.proto, op.name) for op in graph.ops]
    proto = copy_emptied(model.proto, ())
    del proto.graph.node[:]
    made = {o for node in kept for o in node.output}
    proto.graph.node.extend(kept)
    new = [name for name in names if name not in made]
    for name in new:
        proto.graph.initializer.append(onnx.numpy_helper.from_array(graph.array(name), name))
    return Model(proto, model.path, model.sha256, model.bytes, model.files), new


def _named(node: onnx.NodeProto, name: str) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = name
    return copy
