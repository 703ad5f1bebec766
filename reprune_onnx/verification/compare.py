"""What is compared of two models, and by how much it differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Op
from reprune_onnx.types import Bools, ChannelMap

Arrays = dict[str, NDArray[Any]]

_TAIL = {
    "ArgMax", "ArgMin", "Cast", "Clip", "Concat", "Flatten", "HardSigmoid", "Hardmax", "Identity",
    "LogSoftmax", "Reshape", "Sigmoid", "Softmax", "Softsign", "Squeeze", "Tanh", "Transpose",
    "Unsqueeze",
}  # fmt: skip


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
    """The tensors to compare: the outputs, and in place of a squashed output what was squashed.

    Sigmoid and its kind flatten differences, and where they are saturated only rounding is left to
    compare. The same op on the same values gives the same output, so its input is compared instead.
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
        behind = [] if op is None or op.domain or op.type not in _TAIL else _data_inputs(op)
        behind = [i for i in behind if i in channels.tensors]
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


def _data_inputs(op: Op) -> tuple[str, ...]:
    return op.inputs if op.type == "Concat" else op.inputs[:1]
