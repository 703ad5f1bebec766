"""Whole numbers put back where `analyzer.dequantized` took them from.

What a cut alone did to a weight is done to its whole numbers, scales and zero points: nothing is
rounded again. Where recovery gave a weight other values they are rounded with the same scales. A
slice that does not fit these gets a larger one, and so does the bias of its layer, whose scale is a
product with that of the weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.dequantized import Dequantized, QuantizedWeight, Steps
from reprune_onnx.analyzer.graph import to_array
from reprune_onnx.note import Note
from reprune_onnx.order import read_by
from reprune_onnx.results import TensorCut
from reprune_onnx.types import Ints, Model

_BIAS = 2  # the input of a layer
Array = NDArray[Any]


@dataclass(frozen=True)
class Requantized:
    """The model in whole numbers; ``notes`` say which weights were rounded again, or are floats."""

    model: Model
    notes: tuple[Note, ...]


def requantized(pruned: Model, form: Dequantized | None, cuts: Iterable[TensorCut]) -> Requantized:
    """Return what a cut, and perhaps recovery, left of a float network in the form of its file.

    ``pruned`` is what is left of ``form.network``, and ``cuts`` say which slices of its tensors. It
    is returned as it is where the file is not quantized.
    """
    return Requantized(pruned, ()) if form is None else _Writing(pruned, form, cuts).written()


class _Writing:
    """The nodes and constants of the quantized form, made of those of the float network."""

    def __init__(self, pruned: Model, form: Dequantized, cuts: Iterable[TensorCut]) -> None:
        self.pruned, self.form = pruned, form
        self.proto = onnx.ModelProto()
        self.proto.CopyFrom(pruned.proto)
        self.keeps: dict[str, dict[int, Ints]] = {}
        self.source: dict[str, str] = {}
        for cut in cuts:
            self.keeps.setdefault(cut.initializer, {})[cut.axis] = cut.keep
            self.source[cut.initializer] = cut.source or cut.initializer
        self.values = {
            t.name: to_array(t)
            for t in self.proto.graph.initializer
            if self.source.get(t.name, t.name) in form.weights
        }
        self.constants = {t.name: t for t in self.proto.graph.initializer}
        for name in self.values:
            self.proto.graph.initializer.remove(self.constants.pop(name))
        nodes = self.proto.graph.node
        self.taken = {o for n in nodes for o in n.output} | {*self.values, *self.constants}
        self.again = 0  # weights that were rounded again
        self.larger: dict[str, Array] = {}  # how much their scales grew, () or (n,)

    def written(self) -> Requantized:
        """The model."""
        weights = {name: self._weight(name) for name in self._in_order()}
        nodes = list(self._nodes(weights))
        del self.proto.graph.node[:]
        self.proto.graph.node.extend(nodes)
        read = {name for node in nodes for name in read_by(node)}
        bounds = {f"{name}_{end}" for name in self.form.rounded for end in ("low", "high")} - read
        for name in bounds & self.constants.keys():
            self.proto.graph.initializer.remove(self.constants[name])
        return Requantized(Model(self.proto, self.pruned.path), tuple(self._notes()))

    def _in_order(self) -> list[str]:
        """The names of all weights, biases behind the weights that they stand beside."""
        return sorted(self.values, key=lambda name: name in self._beside())

    def _beside(self) -> dict[str, str]:
        """The weight that each bias in whole numbers stands beside."""
        return {
            node.input[_BIAS]: node.input[1]
            for node in self.proto.graph.node
            if len(node.input) > _BIAS and {node.input[1], node.input[_BIAS]} <= self.values.keys()
        }

    def _weight(self, name: str) -> QuantizedWeight:
        """The rest of a weight, with the numbers that stand for its values now."""
        original = self.form.weights[self.source.get(name, name)]
        held, steps = original.held, original.steps
        for axis, keep in self.keeps.get(name, {}).items():
            held = held.take(keep, axis=axis)
            if axis == steps.axis:
                scale, zero = (a.take(keep) for a in (steps.scale, steps.zero))
                steps = replace(steps, scale=scale, zero=zero)
        left, value = replace(original, held=held, steps=steps), self.values[name]
        grown = self.larger.get(self._beside().get(name, ""), np.ones(()))
        if np.array_equal(steps.value(left.whole), value) and (grown == 1).all():
            return left
        self.again += 1
        grown = np.maximum(grown, _growth(value, steps))
        self.larger[name] = grown
        scale = (steps.scale * grown.reshape(-1 if steps.scale.ndim else ())).astype(
            steps.scale.dtype
        )
        steps = replace(steps, scale=scale.reshape(steps.scale.shape))
        held = value.astype(held.dtype) if len(original.nodes) > 1 else steps.rounded(value)
        return replace(left, held=held, steps=steps)

    def _nodes(self, weights: Mapping[str, QuantizedWeight]) -> Iterator[onnx.NodeProto]:
        """All nodes, those that make a weight or round an activation where it is first read."""
        made: set[str] = set()
        for node in self.proto.graph.node:
            for name in read_by(node):
                if name in weights and name not in made:
                    made.add(name)
                    yield from self._of_weight(name, weights[name])
            if node.op_type == "Clip" and node.output[0] in self.form.rounded:
                quantize, dequantize = self.form.rounded[node.output[0]]
                for each in (quantize, dequantize):
                    if each.output[0] not in made:
                        made.add(each.output[0])
                        yield self._as_it_was(each, node.input[0])
            else:
                yield node

    def _as_it_was(self, node: onnx.NodeProto, x: str) -> onnx.NodeProto:
        """A node that rounds an activation: the first one reads ``x``, the other the first."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "QuantizeLinear":
            copy.input[0] = x
        for i in range(1, len(copy.input)):
            if copy.input[i]:
                copy.input[i] = self._constant(copy.input[i], self._given(copy.input[i]))
        return copy

    def _of_weight(self, name: str, weight: QuantizedWeight) -> Iterator[onnx.NodeProto]:
        """The nodes that make a weight; those of a copy have names of their own."""
        first = name in self.form.weights
        x = self._constant(weight.nodes[0].input[0], weight.held)
        for k, node in enumerate(weight.nodes):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[0] = x
            last = k == len(weight.nodes) - 1
            copy.output[0] = (
                name if last else node.output[0] if first else self._free(f"{name}_whole")
            )
            copy.name = node.name if first else f"{name}_{node.op_type}"
            parts = (weight.steps.scale, weight.steps.zero)
            for i, array in enumerate(parts, start=1):
                if i < len(copy.input) and copy.input[i]:
                    copy.input[i] = self._constant(copy.input[i], array)
            x = copy.output[0]
            yield copy

    def _given(self, name: str) -> Array:
        """A scale or a zero point as the file has it."""
        for tensor in self.form.source.proto.graph.initializer:
            if tensor.name == name:
                return to_array(tensor)
        makers = (n for n in self.form.source.proto.graph.node if name in n.output)
        return to_array(next(a.t for n in makers for a in n.attribute if a.name == "value"))

    def _constant(self, name: str, array: Array) -> str:
        """The name of a constant of these values: its own, or one that nothing has yet."""
        if name in self.constants:
            held = to_array(self.constants[name])
            if held.dtype == array.dtype and np.array_equal(held, array):
                return name
        target = self._free(name)
        tensor = onnx.numpy_helper.from_array(np.asarray(array, order="C"), target)
        self.proto.graph.initializer.append(tensor)
        self.constants[target] = self.proto.graph.initializer[-1]
        return target

    def _free(self, stem: str) -> str:
        """A name that no tensor has: ``stem``, or with a number behind it."""
        name, k = stem, 1
        while name in self.taken:
            k += 1
            name = f"{stem}_pruned{k}"
        self.taken.add(name)
        return name

    def _notes(self) -> Iterator[Note]:
        if self.again:
            n, grown = self.again, sum(bool((g > 1).any()) for g in self.larger.values())
            yield Note(
                f"{n} of {len(self.values)} constants in whole numbers have new values, rounded"
                f" again; scales grew in {grown} of them, activations keep theirs, and the error of"
                " the outputs is that before rounding"
            )
        floats = self.form.weights.keys() - {self.source.get(n, n) for n in self.values}
        if floats:
            yield Note(
                f"{len(floats)} of {len(self.form.weights)} constants in whole numbers, such as"
                f" '{min(floats)}', became floats: nodes that compute with them stand before the"
                " layer"
            )


def _growth(value: Array, steps: Steps) -> Array:
    """The factor by which scales grow for values: at least 1, () or (n,) along their axis."""
    scale, zero = steps.along(value.ndim)
    low = (steps.low - zero.astype(np.float64)) * scale
    high = (steps.high - zero.astype(np.float64)) * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(value > 0, value / high, value / low)
    times = np.where(np.isfinite(times), times, 1.0)
    others = tuple(a for a in range(value.ndim) if a != steps.axis)
    result: Array = np.maximum(times.max(axis=others, initial=1.0), 1.0)
    return result
