"""A model between QuantizeLinear and DequantizeLinear as the float network that it stands for.

A weight in whole numbers becomes w = (q − z)·s under the name that the file gives this product, and
an activation x that is rounded becomes its range, clip(x, (q_min − z)·s, (q_max − z)·s), as the
quantizer does away with a ReLU that the range implies. This network is what is analysed, cut,
proven and repaired; `surgeon.requantized` puts whole numbers back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.quantized import quantized_nodes
from reprune_onnx.errors import ModelError
from reprune_onnx.order import read_by
from reprune_onnx.types import Model

DEQUANTIZE, QUANTIZE = "DequantizeLinear", "QuantizeLinear"
_DOMAINS = ("", "com.microsoft")
_WHOLE = ("int8", "uint8", "int16", "uint16", "int32")
_TENSOR_CLIP = 11  # the first opset whose Clip reads its bounds
Array = NDArray[Any]


@dataclass(frozen=True)
class Steps:
    """A scale and a zero point, of the whole tensor or of each slice along ``axis``.

    ``low`` and ``high`` are the least and the largest whole number.
    """

    scale: Array
    zero: Array
    axis: int | None
    low: int
    high: int

    def along(self, rank: int) -> tuple[Array, Array]:
        """Scale and zero point in a shape that broadcasts to ``rank`` axes."""
        if self.axis is None:
            return self.scale.reshape(-1)[0], self.zero.reshape(-1)[0]
        shape = [-1 if k == self.axis else 1 for k in range(rank)]
        return self.scale.reshape(shape), self.zero.reshape(shape)

    def value(self, whole: Array) -> Array:
        """The values of whole numbers, as DequantizeLinear computes them."""
        scale, zero = self.along(whole.ndim)
        difference = whole.astype(np.int64) - zero.astype(np.int64)
        result: Array = difference.astype(scale.dtype) * scale
        return result

    def rounded(self, array: Array) -> Array:
        """The nearest whole numbers, halves to even, as QuantizeLinear computes them."""
        scale, zero = self.along(array.ndim)
        whole = np.rint(array / scale) + zero.astype(np.float64)
        result: Array = np.clip(whole, self.low, self.high).astype(self.zero.dtype)
        return result


@dataclass(frozen=True)
class QuantizedWeight:
    """A constant ``held`` in the file, which ``nodes`` make the float weight of.

    They are a DequantizeLinear of whole numbers; or a QuantizeLinear before it, of floats.
    """

    nodes: tuple[onnx.NodeProto, ...]
    held: Array
    steps: Steps

    @property
    def whole(self) -> Array:
        """The whole numbers."""
        return self.held if len(self.nodes) == 1 else self.steps.rounded(self.held)


@dataclass(frozen=True)
class Dequantized:
    """The float ``network`` of a model ``source``.

    ``weights`` are those in whole numbers, by their names in the network; ``rounded`` the
    QuantizeLinear and DequantizeLinear in place of which a Clip of the same output stands.
    """

    source: Model
    network: Model
    weights: dict[str, QuantizedWeight] = field(default_factory=dict)
    rounded: dict[str, tuple[onnx.NodeProto, onnx.NodeProto]] = field(default_factory=dict)


def dequantized(model: Model) -> Dequantized | None:
    """Return the float network of a model in QDQ form; None for one that is not quantized so.

    Raises ModelError, naming the node, for a form of it that is not followed.
    """
    kinds = {node.op_type for node in quantized_nodes(model.proto)}
    if not kinds or kinds - {QUANTIZE, DEQUANTIZE}:
        return None
    graph = Graph(model)
    reading = _Reading(graph)
    for op in graph.ops:
        if op.domain in _DOMAINS and op.type == DEQUANTIZE:
            reading.read(op)
    for op in graph.ops:
        if op.domain in _DOMAINS and op.type == QUANTIZE:
            reading.check(op)
    if not (reading.weights or reading.rounded):
        return None
    return Dequantized(model, reading.network(), reading.weights, reading.rounded)


def float_network(model: Model) -> Model:
    """The float network of a model in QDQ form, written out; any other model as it is."""
    flat = written_out(model)
    form = dequantized(flat)
    return flat if form is None else form.network


class _Reading:
    """The weights and activations that the nodes of a graph quantize."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.weights: dict[str, QuantizedWeight] = {}
        self.rounded: dict[str, tuple[onnx.NodeProto, onnx.NodeProto]] = {}
        self.gone: set[int] = set()  # nodes that the network does without
        self.ranges: dict[int, tuple[Op, Steps]] = {}  # of the Clip in place of a node

    def read(self, op: Op) -> None:
        """Take in a DequantizeLinear."""
        name, maker = op.inputs[0], self.graph.producer(op.inputs[0])
        if self.graph.is_constant(name):
            held = self.graph.array(name)
            self._weight(op, (op,), held, self._steps(op, held.ndim, held.dtype))
        elif maker is not None and maker.type == QUANTIZE and maker.domain in _DOMAINS:
            self._pair(maker, op)
        elif maker is not None:
            raise _refused(op, f"reads whole numbers that {maker.title} computes")

    def check(self, op: Op) -> None:
        """Refuse a QuantizeLinear whose whole numbers are read by more than DequantizeLinear."""
        others = [r for r in self.graph.readers(op.outputs[0]) if r.index not in self._read]
        if others:
            raise _refused(op, f"makes whole numbers that {others[0].title} reads")
        if op.outputs[0] in self.graph.outputs:
            raise _refused(op, "makes an output in whole numbers")
        self.gone.add(op.index)

    @property
    def _read(self) -> set[int]:
        return self.gone | self.ranges.keys()

    def _pair(self, quantize: Op, op: Op) -> None:
        name = quantize.inputs[0]
        constant = self.graph.is_constant(name)
        rank = len(self.graph.shape(name)) if constant else None
        dtype = _whole_type(self.graph, quantize)
        steps, other = self._steps(quantize, rank, dtype), self._steps(op, rank, dtype)
        same = np.array_equal(steps.scale, other.scale) and np.array_equal(steps.zero, other.zero)
        if not same:
            raise _refused(op, f"has another scale or zero point than {quantize.title}")
        if constant:
            self._weight(op, (quantize, op), self.graph.array(name), steps)
        elif steps.axis is not None:
            raise _refused(quantize, "has a scale for each channel of an activation")
        else:
            self.rounded[op.outputs[0]] = (quantize.proto, op.proto)
            self.ranges[op.index] = (quantize, steps)

    def _weight(self, op: Op, nodes: tuple[Op, ...], held: Array, steps: Steps) -> None:
        if op.outputs[0] in self.graph.outputs:
            raise _refused(op, "makes an output of constants")
        protos = tuple(node.proto for node in nodes)
        self.weights[op.outputs[0]] = QuantizedWeight(protos, held, steps)
        self.gone.update(node.index for node in nodes)

    def _steps(self, op: Op, rank: int | None, dtype: np.dtype[Any]) -> Steps:
        given = [self.graph.is_constant(name) for name in op.inputs[1:] if name]
        if not given or not all(given):
            raise _refused(op, "has a scale or a zero point that the graph computes")
        if op.attrs.get("block_size", 0):
            raise _refused(op, "has a scale for each block of values")
        if dtype.name not in _WHOLE:
            raise _refused(op, f"has whole numbers of type {dtype.name}")
        scale = self.graph.array(op.inputs[1])
        zero = self.graph.array(op.inputs[2]) if op.has(2) else np.zeros(scale.shape, dtype)
        axis = None
        if scale.size > 1:
            axis = int(op.attrs.get("axis", 1))
            axis = axis + rank if axis < 0 and rank is not None else axis
        info = np.iinfo(dtype)
        return Steps(scale, zero.astype(dtype), axis, int(info.min), int(info.max))

    def network(self) -> Model:
        """The float network."""
        source = self.graph.proto
        proto = onnx.ModelProto()
        proto.CopyFrom(source)
        del proto.graph.node[:]
        bounds: list[onnx.TensorProto] = []
        for op in self.graph.ops:
            if op.index in self.ranges:
                proto.graph.node.append(self._clip(op, bounds))
            elif op.index not in self.gone:
                proto.graph.node.append(op.proto)
        _without_unread(proto, self.graph)
        proto.graph.initializer.extend(bounds)
        for name, weight in self.weights.items():
            value = weight.steps.value(weight.whole)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        return Model(proto, self.graph.model.path)

    def _clip(self, op: Op, bounds: list[onnx.TensorProto]) -> onnx.NodeProto:
        """The range of what is rounded, in place of the DequantizeLinear ``op``."""
        quantize, steps = self.ranges[op.index]
        ends = steps.value(np.array([steps.low, steps.high]))
        name, x = op.outputs[0], quantize.inputs[0]
        if self.graph.opsets.get("", 1) < _TENSOR_CLIP:
            low, high = (float(end) for end in ends)
            return onnx.helper.make_node("Clip", [x], [name], op.name, min=low, max=high)
        names = [f"{name}_{end}" for end in ("low", "high")]
        tensors = (onnx.numpy_helper.from_array(e, n) for e, n in zip(ends, names, strict=True))
        bounds.extend(tensors)
        return onnx.helper.make_node("Clip", [x, *names], [name], op.name)


def _whole_type(graph: Graph, quantize: Op) -> np.dtype[Any]:
    """The type of the whole numbers that a QuantizeLinear makes."""
    if quantize.has(2) and graph.is_constant(quantize.inputs[2]):
        return graph.array(quantize.inputs[2]).dtype
    kind = int(quantize.attrs.get("output_dtype", 0)) or onnx.TensorProto.UINT8
    return onnx.helper.tensor_dtype_to_np_dtype(kind)


def _without_unread(proto: onnx.ModelProto, graph: Graph) -> None:
    """Remove the constants, and what is said of tensors, that only removed nodes read or made."""
    read = {name for node in proto.graph.node for name in read_by(node)} | {*graph.outputs}
    before = {name for op in graph.ops for name in op.inputs}
    made = {name for node in proto.graph.node for name in node.output} | read
    inputs = {i.name for i in proto.graph.input}
    gone = before - read - inputs
    for tensor in [t for t in proto.graph.initializer if t.name in gone]:
        proto.graph.initializer.remove(tensor)
    for node in [n for n in proto.graph.node if n.op_type == "Constant" and n.output[0] in gone]:
        proto.graph.node.remove(node)
    for value in [v for v in proto.graph.value_info if v.name not in made]:
        proto.graph.value_info.remove(value)


def _refused(op: Op, why: str) -> ModelError:
    return ModelError(
        f"the model is quantized, and {op.title} {why}, which is not followed: prune the float"
        " model it was made from, then quantize the result"
    )
