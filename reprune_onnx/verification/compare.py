"""The tensors in which two models are compared, and how much they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph, Op, captured
from reprune_onnx.analyzer.op_kinds import ARITHMETIC, MEASURING, RESIZING, SAME_ELEMENTS, SQUASHING
from reprune_onnx.types import Bools, ChannelMap, Ints

Arrays = dict[str, NDArray[Any]]

_MOVING = SAME_ELEMENTS | RESIZING | {
    "CenterCropPad", "Compress", "DepthToSpace", "Expand", "Gather", "GatherElements", "GatherND",
    "Pad", "ReverseSequence", "Slice", "SpaceToDepth", "Split", "Tile", "Trilu",
}  # fmt: skip
_EACH = {"ArgMax", "ArgMin", "Exp", "Neg", "ReduceMax", "ReduceMin"}
_OF_ONE = SQUASHING | _MOVING | _EACH
_SUMMING = {
    "AveragePool", "CumSum", "GlobalAveragePool", "ReduceL1", "ReduceL2", "ReduceMean",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
}  # fmt: skip
_OF_TWO = ARITHMETIC | {"Max", "Mean", "Min", "Pow", "Sum", "Where"}


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference of a tensor, and the tensor's largest magnitude."""

    absolute: float
    scale: float

    @property
    def relative(self) -> float:
        """The difference in units of the scale."""
        return self.absolute / self.scale if self.scale > 0 else self.absolute


def difference(expected: Arrays, actual: Arrays, observed: list[str]) -> Difference:
    """The largest difference of any tensor, relative to its largest magnitude.

    What is not ``observed`` is the output of a squashing op, or is only read to be rounded to whole
    numbers: its scale is at least 1.
    """
    differences = [Difference(0.0, 0.0)]
    for name in expected.keys() & actual.keys():
        a, b = expected[name], actual[name]
        if a.dtype.kind not in "fiub" or a.size == 0:
            continue
        if a.shape != b.shape:
            return Difference(float("inf"), 1.0)
        a, b = a.astype(np.float64), b.astype(np.float64)
        wild = ~np.isfinite(a)
        if not np.array_equal(wild, ~np.isfinite(b)):
            return Difference(float("inf"), 1.0)
        a, b = np.where(wild, 0.0, a), np.where(wild, 0.0, b)
        scale = max(float(np.abs(a).max()), 0.0 if name in observed else 1.0)
        differences.append(Difference(float(np.abs(a - b).max()), scale))
    return max(differences, key=lambda d: (d.relative, d.scale))


def observed_tensors(graph: Graph, channels: ChannelMap, keep: Bools) -> list[str]:
    """The tensors to compare: the outputs, and in place of some what they were made of.

    Sigmoid and its kind flatten differences, and where they are saturated only rounding is left to
    compare. Beside a constant, such as the corner of a cell that a box is counted from, or in one
    tensor with larger values, a difference is small for the scale. The same op on the same values
    gives the same output, so the inputs are compared instead, each by its own scale.
    """
    given = {i.name for i in graph.inputs}
    tensors: list[str] = []
    seen: set[str] = set()
    stack = tensor_outputs(graph.proto)[::-1]
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        behind = _behind(graph, channels, graph.producer(name))
        if behind and all(keep[channels.tensors[i].ids].all() for i in behind):
            stack.extend(i for i in behind if i not in given)
        else:
            tensors.append(name)
    return tensors


def finite(arrays: Arrays) -> bool:
    """Whether some output has a finite value."""
    return any(a.dtype.kind not in "f" or np.isfinite(a).any() for a in arrays.values())


def kept_part(array: NDArray[Any], ids: Ints, keep: Bools) -> NDArray[Any]:
    """The part of an original's tensor that stays; ``ids`` are the units along its axes.

    ``ids`` has the tensor's rank, and extent 1 along the axes on which units do not vary.
    """
    kept = keep[ids]
    for axis, n in enumerate(ids.shape):
        if n > 1:
            others = tuple(a for a in range(ids.ndim) if a != axis)
            array = array.take(np.flatnonzero(kept.any(axis=others)), axis=axis)
    return array


def tensor_outputs(proto: onnx.ModelProto) -> list[str]:
    """The outputs that are tensors, not sequences or maps."""
    return [o.name for o in proto.graph.output if o.type.HasField("tensor_type")]


def _behind(graph: Graph, channels: ChannelMap, op: Op | None) -> list[str]:
    """The activations from which an op's output follows, to be compared instead; none for most ops.

    Of several activations that an op joins element by element, one at least must be squashed, and
    so must be what it sums over: else the output shows as much.
    """
    if op is None or op.domain:
        return []
    read = [i for i in op.inputs if i in channels.tensors]
    others = {i for i in op.inputs if i} - {*read}
    if not all(_of_shapes(graph, i) for i in others):
        return []
    if op.type == "Concat":
        return read
    if op.type in _OF_ONE:
        return read if read == [*op.inputs[:1]] else []
    if op.type in _SUMMING:
        return read if read == [*op.inputs[:1]] and _squashed(graph, channels, read[0]) else []
    if op.type not in _OF_TWO:
        return []
    return read if len(read) == 1 or any(_squashed(graph, channels, i) for i in read) else []


def _squashed(graph: Graph, channels: ChannelMap, name: str) -> bool:
    """Whether a tensor is a squashing op's output, moved or joined with constants."""
    while True:
        op = graph.producer(name)
        if op is None or op.domain:
            return False
        if op.type in SQUASHING:
            return True
        read = [i for i in op.inputs if i in channels.tensors]
        if len(read) != 1 or op.type not in _OF_ONE | _OF_TWO | _SUMMING:
            return False
        (name,) = read


def _of_shapes(graph: Graph, name: str) -> bool:
    """Whether a tensor follows from constants and the shapes of tensors."""
    if graph.is_constant(name):
        return True
    op = graph.producer(name)
    if op is None or op.domain or captured(op):
        return False
    return op.type in MEASURING or (
        any(op.inputs) and all(_of_shapes(graph, i) for i in op.inputs if i)
    )
