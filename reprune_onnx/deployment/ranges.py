"""Nodes that would leave the range of float16, measured on inputs.

ONNX Runtime's CPU computes a float16 file in float32 wherever it has no kernel, so running such a
file shows nothing of its range. Here the float32 model runs with a few more nodes behind every
tensor, which give its largest magnitude and what rounding it to float16 loses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.runtime.ort import Session
from reprune_onnx.verification.compare import Arrays

LARGEST = 65504.0
"""The largest number of float16."""

_LOST = 2.0**-6  # of a tensor's own size: rounding to 11 bits loses 2^-12, subnormal numbers more
_SUMS = {"GlobalAveragePool", "ReduceL1", "ReduceMean", "ReduceSum"}
_SQUARES = {
    "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
    "MeanVarianceNormalization", "RMSNormalization", "ReduceL2",
}  # fmt: skip


@dataclass(frozen=True)
class Magnitude:
    """The largest magnitude of a tensor, and the part of its size that rounding to float16 loses.

    ``lost`` is ‖t − half(t)‖ / ‖t‖, 1 where every number is lost.
    """

    largest: float
    lost: float

    def reason(self, margin: float) -> str | None:
        """Why the tensor cannot be float16, the range being ``margin`` times too wide; or None."""
        if not self.largest * margin <= LARGEST:
            room = f", less a margin of {margin:g}×" if margin > 1 else ""
            return f"reaches {self.largest:.3g}, and float16 ends at {LARGEST:.0f}{room}"
        if self.lost > _LOST:
            return f"is so small that float16 loses {self.lost:.0%} of it"
        return None

    def joined(self, other: Magnitude) -> Magnitude:
        """The range of both."""
        return Magnitude(max(self.largest, other.largest), max(self.lost, other.lost))


def constant_ranges(graph: Graph, floats: set[str]) -> dict[str, Magnitude]:
    """Return the ranges of the float32 constants among ``floats``; infinities are float16's too."""
    ranges = {}
    for name in floats:
        if graph.is_constant(name):
            array = graph.array(name).astype(np.float64)
            ranges[name] = _range(array[np.isfinite(array)])
    return ranges


def measured_ranges(
    graph: Graph, floats: set[str], feeds: Iterable[Arrays]
) -> dict[str, Magnitude]:
    """Return the ranges of the float32 activations among ``floats``, over all ``feeds``.

    What a reduction adds up, and what a norm squares, is given under the node's name: `inner`.
    """
    asked = [*sorted(n for n in floats if not graph.is_constant(n))]
    probed, factors = _probed(graph, asked)
    session = Session(probed, optimize=False)
    ranges: dict[str, Magnitude] = {}
    for one in feeds:
        values = session.run(one)
        for name in asked:
            largest, lost, size = (float(values[_of(name, k)]) for k in ("max", "lost", "size"))
            magnitude = Magnitude(
                largest, float(np.sqrt(lost / size)) if 0 < size < np.inf else 0.0
            )
            ranges[name] = magnitude.joined(ranges.get(name, magnitude))
        for name, (tensor, count) in factors.items():
            largest = float(values[tensor])
            if count:
                largest *= float(values[count[0]]) / max(1.0, float(values[count[1]]))
            magnitude = Magnitude(largest, 0.0)
            ranges[inner(name)] = magnitude.joined(ranges.get(inner(name), magnitude))
        for op in graph.ops:
            if op.type in _SQUARES and op.inputs[0] in ranges:
                wide = ranges[op.outputs[0] if op.type == "ReduceL2" else op.inputs[0]].largest
                ranges[inner(op.name)] = Magnitude(wide**2, 0.0)
    return ranges


def inner(node: str) -> str:
    """The name under which `measured_ranges` gives what adds up inside of a node."""
    return f"inside of {node}"


def _range(array: np.ndarray) -> Magnitude:
    if not array.size:
        return Magnitude(0.0, 0.0)
    largest = float(np.abs(array).max())
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16).astype(np.float64)
    size = float(np.linalg.norm(array))
    off = np.where(np.isfinite(rounded), array - rounded, array)
    return Magnitude(largest, float(np.linalg.norm(off)) / size if size else 0.0)


_Factors = dict[str, tuple[str, tuple[str, str] | None]]


def _probed(graph: Graph, names: Sequence[str]) -> tuple[onnx.ModelProto, _Factors]:
    """The model whose outputs are numbers about its tensors, and those of sums by their nodes."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    del proto.graph.output[:]
    proto.graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.zeros(1, np.float32), _of("", "zero")),
            onnx.numpy_helper.from_array(np.array([-1], np.int64), _of("", "flat")),
        ]
    )
    for name in names:
        _probe(proto.graph, name)
    factors: _Factors = {}
    for op in graph.ops:
        if op.type in _SUMS and not op.domain and op.inputs[0] in names:
            factors[op.name] = _sum(proto.graph, op)
    return proto, factors


def _probe(graph: onnx.GraphProto, name: str) -> None:
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for kind, inputs, output, attributes in (
        ("Abs", [name], "abs", {}),
        ("Cast", [name], "half", {"to": half}),
        ("Cast", [_of(name, "half")], "rounded", {"to": single}),
        ("Sub", [name, _of(name, "rounded")], "off", {}),
        ("ReduceSumSquare", [_of(name, "off")], "lost", {"keepdims": 0}),
        ("ReduceSumSquare", [name], "size", {"keepdims": 0}),
    ):
        graph.node.append(
            onnx.helper.make_node(kind, inputs, [_of(name, output)], None, **attributes)
        )
    _largest(graph, _of(name, "abs"), _of(name, "max"))
    _output(graph, _of(name, "lost"), _of(name, "size"))


def _sum(graph: onnx.GraphProto, op: Op) -> tuple[str, tuple[str, str] | None]:
    """The outputs with the op's largest result on magnitudes and, of a mean, with its two sizes."""
    node = onnx.NodeProto()
    node.CopyFrom(op.proto)
    node.name = _of(op.name, "of_magnitudes")
    node.input[0] = _of(op.inputs[0], "abs")
    node.output[0] = _of(op.outputs[0], "of_magnitudes")
    graph.node.append(node)
    total = _of(op.outputs[0], "sum")
    _largest(graph, node.output[0], total)
    if op.type not in ("GlobalAveragePool", "ReduceMean"):
        return total, None
    counts = (_of(op.outputs[0], "read"), _of(op.outputs[0], "made"))
    for source, count in zip((op.inputs[0], op.outputs[0]), counts, strict=True):
        graph.node.append(onnx.helper.make_node("Size", [source], [count]))
    _output(graph, *counts)
    return total, counts


def _largest(graph: onnx.GraphProto, name: str, output: str) -> None:
    """The largest of a tensor that may be empty."""
    graph.node.append(
        onnx.helper.make_node("Reshape", [name, _of("", "flat")], [_of(output, "flat")])
    )
    graph.node.append(
        onnx.helper.make_node(
            "Concat", [_of(output, "flat"), _of("", "zero")], [_of(output, "some")], axis=0
        )
    )
    graph.node.append(
        onnx.helper.make_node("ReduceMax", [_of(output, "some")], [output], keepdims=0)
    )
    _output(graph, output)


def _output(graph: onnx.GraphProto, *names: str) -> None:
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)


def _of(name: str, what: str) -> str:
    """The name of what is measured of a tensor; no exporter writes names like it."""
    return f"{name}<{what}>"
