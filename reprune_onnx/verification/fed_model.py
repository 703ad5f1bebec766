"""A model whose large weights are fed at every run instead of being loaded.

ONNX Runtime would hold what it loads twice, beside the bytes it loads from. Fed, weights are the
arrays that numpy holds anyway, a session is made in no time, and another weight is another feed.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.fold import folded
from reprune_onnx.analyzer.graph import FLOATS, to_array
from reprune_onnx.analyzer.hoist import own_names
from reprune_onnx.bodies import bodies
from reprune_onnx.model import copy_emptied
from reprune_onnx.precision import WIDE, as_float32
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Ints
from reprune_onnx.verification.compare import Arrays
from reprune_onnx.verification.part import GraphPart

_LARGE = 1024  # elements; smaller constants may be what an operator has to know beforehand


@dataclass(frozen=True)
class Slices:
    """Slices ``indices (m,)`` along ``axis``.

    ``of``: the last axis is taken for ``of`` slices of equal extent; else each place is one.
    """

    indices: Ints
    axis: int
    of: int | None = None


class FedModel:
    """A copy of a model in a type that ONNX Runtime's CPU can run, without the large weights.

    Values of the types ``wide`` are float32 in it.
    """

    def __init__(self, model: onnx.ModelProto, wide: Collection[int] = WIDE) -> None:
        self._wide = wide
        outputs = {o.name for o in model.graph.output}
        self._tensors = {
            t.name: t
            for t in model.graph.initializer
            if t.data_type in FLOATS and prod(t.dims) >= _LARGE and t.name not in outputs
        }
        self._arrays: Arrays = {}
        proto = copy_emptied(model, self._tensors)
        rest = [t for t in proto.graph.initializer if t.name not in self._tensors]
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(rest)
        declared = {i.name for i in proto.graph.input}
        for name, t in self._tensors.items():
            if name not in declared:
                _declare(proto, name, t.data_type, tuple(t.dims))
        self.proto = as_float32(proto, wide)

    def copy(self) -> FedModel:
        """A model of its own that shares the weights."""
        other = copy.copy(self)
        other.proto = onnx.ModelProto()
        other.proto.CopyFrom(self.proto)
        other._arrays = dict(self._arrays)
        return other

    def taking(self, decided: Mapping[str, bool]) -> FedModel:
        """A model in which branches of If that stand beside them are back in their bodies.

        What an If takes whose condition is ``decided`` stands in its place (`folded`).
        """
        other = self.copy()
        other.proto = folded(other.proto, decided)
        return other

    def part(self, part: GraphPart, like: Sequence[Mapping[str, NDArray[Any]]]) -> FedModel:
        """A model of its own of these nodes alone, of which inputs are what they read of others.

        ``like`` are values of these tensors in several runs: of their types, ranks, and extents
        where these are always the same.
        """
        other = self.copy()
        graph = other.proto.graph
        nodes = [copy.deepcopy(graph.node[k]) for k in part.nodes]
        del graph.node[:], graph.value_info[:]
        graph.node.extend(nodes)
        made = {name for node in nodes for name in node.output}
        for output in [o for o in graph.output if o.name not in made]:
            graph.output.remove(output)
        for name in part.reads:
            kind = onnx.helper.np_dtype_to_tensor_dtype(like[0][name].dtype)
            extents = zip(*(values[name].shape for values in like), strict=True)
            shape = tuple(of_axis[0] if len({*of_axis}) == 1 else None for of_axis in extents)
            _declare(other.proto, name, kind, shape)
        read = _read(graph)
        for value in [i for i in graph.input if i.name not in read]:
            graph.input.remove(value)
        return other

    def rewire(self, node: onnx.NodeProto, i: int, array: NDArray[Any]) -> str:
        """Let input ``i`` of ``node``, one of ``proto``'s, read ``array``; nothing else changes.

        Returns what the array is called, of which another may be fed to a run (`fed`).
        """
        name = f"{node.input[i]}__{len(self.proto.graph.input)}"
        array = self.fed(array)
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        _declare(self.proto, name, kind, array.shape)
        self._arrays[name] = array
        node.input[i] = name
        return name

    def fed(self, array: NDArray[Any]) -> NDArray[Any]:
        """A weight in the type in which this model reads it."""
        wide = onnx.helper.np_dtype_to_tensor_dtype(array.dtype) in self._wide
        return array.astype("float32") if wide else array

    def weight(self, name: str) -> NDArray[Any] | None:
        """A weight that is fed; None for any other tensor."""
        if name not in self._arrays and name in self._tensors:
            self._arrays[name] = _array(self._tensors[name], self._wide)
        return self._arrays.get(name)

    def multiply(self, node: int, i: int, factor: tuple[NDArray[Any], int | None]) -> None:
        """Let input ``i`` of node ``node`` be what it reads times an array, of a TensorProto type.

        The nodes behind are one further along then. An unknown type is taken for float.
        """
        array, kind = factor
        if kind is None or kind in self._wide:
            kind = onnx.TensorProto.FLOAT
        read = self.proto.graph.node[node].input[i]
        name, made = (f"{read}__{len(self.proto.graph.input)}_{part}" for part in ("by", "made"))
        _declare(self.proto, name, kind, array.shape)
        self._arrays[name] = array.astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
        self.proto.graph.node[node].input[i] = made
        self.proto.graph.node.insert(node, onnx.helper.make_node("Mul", [read, name], [made]))

    def take_of_inputs(self, node: int, inputs: Sequence[int], slices: Slices) -> None:
        """Let ``inputs`` of node ``node`` be slices of what they are; nodes behind move."""
        reader, taken = self.proto.graph.node[node], dict[str, str]()
        for i in inputs:
            name = taken.setdefault(reader.input[i], self._name(reader.input[i], "taken"))
            reader.input[i] = name
        for tensor, name in taken.items():
            self._take(node, tensor, slices, name)

    def take_of_output(self, node: int, k: int, slices: Slices) -> None:
        """Let output ``k`` of node ``node`` be slices of what it is; nodes behind move."""
        maker = self.proto.graph.node[node]
        taken = maker.output[k]
        maker.output[k] = self._name(taken, "whole")
        self._take(node + 1, maker.output[k], slices, taken)

    def _take(self, at: int, tensor: str, slices: Slices, taken: str) -> None:
        """Put what makes ``taken``, slices of ``tensor``, before node ``at``."""
        axis, graph = slices.axis, self.proto.graph
        indices = self._constant(slices.indices, tensor)
        nodes = [onnx.helper.make_node("Gather", [tensor, indices], [taken], axis=axis)]
        if slices.of is not None:
            apart, few = self._name(tensor, "apart"), self._name(tensor, "few")
            split = self._constant([0] * axis + [slices.of, -1], tensor)
            joined = self._constant([0] * axis + [-1], tensor)
            nodes = [
                onnx.helper.make_node("Reshape", [tensor, split], [apart]),
                onnx.helper.make_node("Gather", [apart, indices], [few], axis=axis),
                onnx.helper.make_node("Reshape", [few, joined], [taken]),
            ]
        for node in reversed(nodes):
            graph.node.insert(at, node)

    def _constant(self, values: Ints | list[int], of: str) -> str:
        name = self._name(of, "constant")
        tensor = onnx.numpy_helper.from_array(np.asarray(values, np.int64), name)
        self.proto.graph.initializer.append(tensor)
        return name

    def _name(self, of: str, what: str) -> str:
        """A name for what is made of a tensor; each constant makes the next one another."""
        return f"{of}__{len(self.proto.graph.initializer)}_{what}"

    def redirect(self, names: Mapping[str, str], like: Arrays) -> None:
        """Let all that reads a tensor read another input, of ``like``'s type and rank.

        ``names`` are the new inputs' by the tensors'.
        """
        for name, fed in names.items():
            kind = onnx.helper.np_dtype_to_tensor_dtype(like[name].dtype)
            _declare(self.proto, fed, kind, (None,) * like[name].ndim)
        _rename_inputs(self.proto.graph, names)

    def open_sizes(self, names: Container[str]) -> None:
        """Let the inputs ``names`` be of any size: no shapes are stated that follow from theirs."""
        for value in self.proto.graph.input:
            if value.name in names:
                for dim in value.type.tensor_type.shape.dim:
                    dim.ClearField("dim_value")
        del self.proto.graph.value_info[:]
        for output in self.proto.graph.output:
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.ClearField("shape")

    def session(self, outputs: Sequence[str]) -> FedSession:
        """Make it ready to run, with the weights that are read."""
        read = _read(self.proto.graph)
        for name in self._tensors.keys() & read:
            self.weight(name)
        fed = {name: array for name, array in self._arrays.items() if name in read}
        unread = (self._tensors.keys() | self._arrays.keys()) - read
        for value in [i for i in self.proto.graph.input if i.name in unread]:
            self.proto.graph.input.remove(value)
        return FedSession(Session(self.proto, optimize=False, outputs=outputs), fed)


class FedSession:
    """A session that is given the weights at every run; ``inputs`` are the others."""

    def __init__(self, session: Session, weights: Mapping[str, NDArray[Any]]) -> None:
        self._session = session
        self._weights = weights
        self.inputs = tuple(port for port in session.inputs if port.name not in weights)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return the outputs by name; ModelError where they cannot be computed.

        Arrays in ``feeds`` come before the weights of the same names.
        """
        return self._session.run({**self._weights, **feeds})


def _rename_inputs(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """In the nodes of a graph and of their bodies, which may read outer tensors."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in names:
                node.input[i] = names[name]
        for body in bodies(node):
            name = own_names(body)
            outer = {a: b for a, b in names.items() if a not in name}
            _rename_inputs(body, outer)
            for output in body.output:
                output.name = outer.get(output.name, output.name)


def _declare(proto: onnx.ModelProto, name: str, kind: int, shape: tuple[int | None, ...]) -> None:
    proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))


def _array(tensor: onnx.TensorProto, wide: Collection[int]) -> NDArray[Any]:
    array = to_array(tensor)
    return array.astype("float32") if tensor.data_type in wide else array


def _read(graph: onnx.GraphProto) -> set[str]:
    """The tensors that some node reads, in a body too, or that are outputs."""
    read = {name for node in graph.node for name in node.input}
    read |= {o.name for o in graph.output}
    for node in graph.node:
        for body in bodies(node):
            read |= _read(body)
    return read
