"""What is compared of two models, and by how much it differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph, Op, captured
from reprune_onnx.types import Bools, ChannelMap

Arrays = dict[str, NDArray[Any]]

_TAIL = {
    "ArgMax", "ArgMin", "Cast", "Clip", "Flatten", "HardSigmoid", "Hardmax", "Identity",
    "LogSoftmax", "Reshape", "Sigmoid", "Softmax", "Softsign", "Squeeze", "Tanh", "Transpose",
    "Unsqueeze",
}  # fmt: skip
_BY_CONSTANT = {"Add", "Div", "Mul", "Sub"}
_SHAPES = {"Shape", "Size"}


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference of a tensor, and the tensor's largest magnitude."""

    absolute: float
    scale: float

    @property
    def relative(self) -> float:
        """The difference in units of the scale."""
        return self.absolute / self.scale if self.scale > 0 else self.absolute


def difference(expected: Arrays, found: Arrays, observed: list[str]) -> Difference:
    """The largest difference of any tensor, relative to its largest magnitude.

    What is not ``observed`` is the output of a squashing op, or is only read to be rounded to whole
    numbers: its scale is at least 1.
    """
    differences = [Difference(0.0, 0.0)]
    for name in expected.keys() & found.keys():
        a, b = expected[name], found[name]
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


def observed_tensors(channels: ChannelMap, keep: Bools) -> list[str]:
    """The tensors to compare: the outputs, and in place of some what they were made of.

    Sigmoid and its kind flatten differences, and where they are saturated only rounding is left to
    compare. Beside a constant, such as the corner of a cell that a box is counted from, or in one
    tensor with larger values, a difference is small for the scale. The same op on the same values
    gives the same output, so the input is compared instead, by its own scale.
    """
    graph = channels.graph
    found: list[str] = []
    seen: set[str] = set()
    stack = tensor_outputs(graph.proto)[::-1]
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        op = graph.producer(name)
        behind = [] if op is None or op.domain else _behind(channels, op)
        open_ = [i for i in behind if keep[channels.tensors[i].ids].all()]
        if behind and len(open_) == len(behind):
            stack.extend(behind)
        else:
            found.append(name)
    return found


def finite(arrays: Arrays) -> bool:
    """Whether some output has a finite value."""
    return any(a.dtype.kind not in "f" or np.isfinite(a).any() for a in arrays.values())


def tensor_outputs(proto: onnx.ModelProto) -> list[str]:
    """The outputs that are tensors, not sequences or maps."""
    return [o.name for o in proto.graph.output if o.type.HasField("tensor_type")]


def _behind(channels: ChannelMap, op: Op) -> list[str]:
    """The activations from which, by constants alone, an op's output follows; none for most ops."""
    read = [i for i in op.inputs if i in channels.tensors]
    if op.type in _TAIL:
        return [i for i in op.inputs[:1] if i in read]
    joined = op.type == "Concat" or (op.type in _BY_CONSTANT and len(read) == 1)
    others = {i for i in op.inputs if i} - {*read}
    return read if joined and all(_of_shapes(channels.graph, i) for i in others) else []


def _of_shapes(graph: Graph, name: str) -> bool:
    """Whether a tensor follows from constants and the shapes of tensors."""
    if graph.is_constant(name):
        return True
    op = graph.producer(name)
    if op is None or op.domain or captured(op):
        return False
    return op.type in _SHAPES or (
        any(op.inputs) and all(_of_shapes(graph, i) for i in op.inputs if i)
    )
