"""Ops whose older version says the same thing in another way: an attribute for an input, or less.

An adapter gets the node's draft. It returns None where the older version cannot say
it, and else a copy of the node as the older version writes it, its attributes not yet checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.deployment.draft import Draft

Adapter = Callable[[Draft], "onnx.NodeProto | None"]
"""The draft of a node -> the older node."""


def copy_of(d: Draft) -> onnx.NodeProto:
    """A copy of the draft's node, under the name the analysis gives it."""
    node = onnx.NodeProto()
    node.CopyFrom(d.op.proto)
    node.name = d.op.name
    return node


def without(node: onnx.NodeProto, *names: str) -> onnx.NodeProto:
    """Take attributes off a node."""
    kept = [a for a in node.attribute if a.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    return node


def _reduce(d: Draft) -> onnx.NodeProto | None:
    """Axes became an input in 18; without any, all are reduced."""
    node = without(copy_of(d), "noop_with_empty_axes")
    axes = _constant(d, 1)
    if d.op.has(1) and axes is None:
        return None
    if axes is None or not axes.size:
        if d.op.attrs.get("noop_with_empty_axes", 0):
            return None
    else:
        node.attribute.append(onnx.helper.make_attribute("axes", axes.astype(int).tolist()))
    del node.input[1:]
    return node


def _split(d: Draft) -> onnx.NodeProto | None:
    """Equal parts had no number of their own before 18: the outputs are counted."""
    return without(copy_of(d), "num_outputs")


def _pad(d: Draft) -> onnx.NodeProto | None:
    """Axes are new in 18: the others are padded by 0."""
    node = copy_of(d)
    if d.op.attrs.get("mode", b"constant") not in (b"constant", b"edge", b"reflect"):
        return None
    if not d.op.has(3):
        del node.input[3:]
        return node
    pads, axes = _constant(d, 1), _constant(d, 3)
    rank = d.facts.rank(d.op.inputs[0])
    if pads is None or axes is None or rank is None:
        return None
    every = np.zeros((2, rank), dtype=np.int64)
    every[:, axes % rank] = pads.reshape(2, -1)
    node.input[1] = d.constant(every.reshape(-1), np.int64)
    del node.input[3:]
    return node


def _resize(d: Draft) -> onnx.NodeProto | None:
    """Axes are new in 18: the others keep their size."""
    node = copy_of(d)
    axes = d.op.attrs.get("axes")
    if axes is None:
        return node
    scales, rank = _constant(d, 2), d.facts.rank(d.op.inputs[0])
    if scales is None or not scales.size or rank is None:
        return None
    every = np.ones(rank, dtype=np.float32)
    every[np.asarray(axes) % rank] = scales
    node.input[2] = d.constant(every, np.float32)
    return without(node, "axes")


def _reshape(d: Draft) -> onnx.NodeProto | None:
    """Whether a 0 means none or copy is a choice since 14: without a 0 there is none to make."""
    shape = _constant(d, 1)
    if d.op.attrs.get("allowzero", 0) and (shape is None or (shape == 0).any()):
        return None
    return without(copy_of(d), "allowzero")


def _shape(d: Draft) -> onnx.NodeProto | None:
    """A part of the shape could not be asked for before 15: a Slice takes it."""
    start, end = int(d.op.attrs.get("start", 0)), d.op.attrs.get("end")
    if start == 0 and end is None:
        return without(copy_of(d), "start")
    full = d.add("Shape", d.op.inputs[0])
    stop = np.iinfo(np.int64).max if end is None else int(end)
    bounds = (d.constant([start], np.int64), d.constant([stop], np.int64))
    axes = d.constant([0], np.int64)
    return onnx.helper.make_node("Slice", [full, *bounds, axes], list(d.op.outputs), d.op.name)


def _written_out(d: Draft) -> onnx.NodeProto | None:
    """The older op means something else by the same inputs: another one's expansion says it."""
    del d
    return None


def _average_pool(d: Draft) -> onnx.NodeProto | None:
    """Dilations are new in 19."""
    dilated = any(n != 1 for n in d.op.attrs.get("dilations", ()))
    return None if dilated else without(copy_of(d), "dilations")


def _constant(d: Draft, i: int) -> NDArray[Any] | None:
    graph = d.facts.graph
    return (
        graph.array(d.op.inputs[i]) if d.op.has(i) and graph.is_constant(d.op.inputs[i]) else None
    )


ADAPTERS: dict[str, Adapter] = {
    "AveragePool": _average_pool,
    "GroupNormalization": _written_out,  # a scale a group until 20, a scale a channel since
    "Pad": _pad,
    "ReduceL1": _reduce,
    "ReduceL2": _reduce,
    "ReduceLogSum": _reduce,
    "ReduceLogSumExp": _reduce,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceMin": _reduce,
    "ReduceProd": _reduce,
    "ReduceSumSquare": _reduce,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Split": _split,
}
