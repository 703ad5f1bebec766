"""A tensor that is split into a sequence, of which single parts are taken: written as slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.types import Model


def as_slices(model: Model) -> Model:
    """The model with a Slice for each SequenceAt that takes part ``k`` of a SplitToSequence.

    PyTorch's exporter writes ``torch.split`` and ``torch.chunk`` so before it optimises. A sequence
    stays where anything else reads it, where an index or a size is not constant, and where an index
    counts from the end of parts whose number is not known.
    """
    if not any(node.op_type == "SplitToSequence" for node in model.proto.graph.node):
        return model
    graph = Graph(model)
    slices: dict[int, tuple[Op, tuple[int, int]]] = {}
    gone: set[int] = set()
    for op in graph.ops:
        if op.type == "SplitToSequence" and op.domain == "" and op.has(1):
            readers = graph.readers(op.outputs[0])
            bounds = [_bounds(graph, op, reader) for reader in readers]
            if readers and op.outputs[0] not in graph.outputs and None not in bounds:
                gone.add(op.index)
                slices |= {r.index: (op, b) for r, b in zip(readers, bounds, strict=True) if b}
    return replace(model, proto=_rewritten(graph, gone, slices)) if gone else model


def _bounds(graph: Graph, split: Op, reader: Op) -> tuple[int, int] | None:
    """Where the part that ``reader`` takes starts and ends."""
    reads_one = reader.type == "SequenceAt" and reader.domain == ""
    if not reads_one or not all(graph.is_constant(n) for n in (split.inputs[1], reader.inputs[1])):
        return None
    sizes, k = graph.array(split.inputs[1]), int(graph.array(reader.inputs[1]))
    if sizes.ndim == 0:  # parts of one size, the last one perhaps smaller: Slice stops there too
        return (k * int(sizes), (k + 1) * int(sizes)) if k >= 0 else None
    ends = np.cumsum(sizes).tolist()
    k += len(ends) if k < 0 else 0
    return (ends[k] - int(sizes[k]), ends[k]) if 0 <= k < len(ends) else None


def _rewritten(
    graph: Graph, gone: set[int], slices: dict[int, tuple[Op, tuple[int, int]]]
) -> onnx.ModelProto:
    unread = _read_only_by(graph, gone | slices.keys())
    taken = {name for op in graph.ops for name in (*op.inputs, *op.outputs)}
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    del proto.graph.node[:]
    for op in graph.ops:
        if op.index in slices:
            split, bounds = slices[op.index]
            values = dict(zip(("starts", "ends"), bounds, strict=True))
            values["axes"] = int(split.attrs.get("axis", 0))
            names = []
            for what, value in values.items():
                names.append(_unused(f"{op.outputs[0]}_{what}", taken))
                tensor = numpy_helper.from_array(np.array([value], np.int64))
                proto.graph.node.append(
                    helper.make_node("Constant", [], names[-1:], names[-1], value=tensor)
                )
            inputs = [split.inputs[0], *names]
            proto.graph.node.append(helper.make_node("Slice", inputs, op.outputs, op.proto.name))
        elif op.index not in gone and not unread.intersection(op.outputs):
            proto.graph.node.append(op.proto)
    unread |= {name for index in gone for name in graph.ops[index].outputs}
    for kept in (proto.graph.initializer, proto.graph.value_info):
        for tensor in [t for t in kept if t.name in unread]:
            kept.remove(tensor)
    return proto


def _read_only_by(graph: Graph, nodes: set[int]) -> set[str]:
    """The constants that nobody but ``nodes`` reads: indices and sizes of the sequences."""
    outside = set(graph.outputs) | {i.name for i in graph.proto.graph.input}
    return {
        name
        for index in nodes
        for name in graph.ops[index].inputs[1:]
        if name not in outside and all(op.index in nodes for op in graph.readers(name))
    }


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
