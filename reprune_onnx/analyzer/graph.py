"""A read-only view of the main graph of a model: nodes in order, constants, and what is neither.

A *constant* is an initializer, the output of a Constant node, or anything the graph computes from
those alone (a transposed weight, a folded shape); the last kind is evaluated once, in ONNX Runtime.
A constant that CastLike gives the type of an activation is one of them.
Everything else that carries channels is an *activation*.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.element_types import element_type
from reprune_onnx.analyzer.fold import Places
from reprune_onnx.analyzer.op_kinds import RANDOM, WITH_BODIES
from reprune_onnx.analyzer.quantized import QUANTIZED
from reprune_onnx.analyzer.well_formed import attributes_of, check_file
from reprune_onnx.errors import ModelError
from reprune_onnx.order import outer_tensors, read_by
from reprune_onnx.types import Model

FLOATS = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
}
_LARGE = 4096  # elements; a constant that is not read into an array once and for all


@dataclass(frozen=True)
class Op:
    """One node: ``index`` is its place in the file, ``name`` its own or a made-up, unique one.

    ``called`` is the type that the file has, where a rule follows the node as one of another.
    """

    index: int
    name: str
    type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any]
    opset: int
    proto: onnx.NodeProto
    called: str = ""

    def has(self, i: int) -> bool:
        """Whether input ``i`` is given (optional inputs may be left out or be empty)."""
        return i < len(self.inputs) and bool(self.inputs[i])

    @property
    def result(self) -> str:
        """The first output that is given: a recurrent layer may have nothing but its last state."""
        return next(name for name in self.outputs if name)

    @property
    def key(self) -> str:
        """The name in tables of ops: its type, behind the domain where that is not ONNX's."""
        return f"{self.domain}::{self.type}" if self.domain else self.type

    @property
    def title(self) -> str:
        """The node as messages name it: ``Conv '/layer1/conv1'``."""
        return f"{self.called or self.type} '{self.name}'"


class Graph:
    """The main graph of ``model``, with its constants evaluated on demand."""

    def __init__(self, model: Model) -> None:
        proto = model.proto
        check_file(proto)
        self.model, self.proto = model, proto
        self.opsets = {_domain(o.domain): o.version for o in proto.opset_import}
        self._initializers = {t.name: t for t in proto.graph.initializer}
        self._declared = {v.name: v for v in (*proto.graph.value_info, *proto.graph.output)}
        self._arrays: dict[str, NDArray[Any]] = {}
        self.inputs = [i for i in proto.graph.input if i.name not in self._initializers]
        self.outputs = [o.name for o in proto.graph.output]
        self.sparse = {
            t.values.name: tuple(t.dims) for t in proto.graph.sparse_initializer
        }  # constants of another kind: never cut
        self.ops = self._read_ops()
        self.derived: dict[str, int] = {}
        self._cast_types: dict[int, int] = {}  # of each CastLike whose type an activation tells
        self._producer = {o: op for op in self.ops for o in op.outputs if o}
        self._readers: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in {*op.inputs, *captured(op)}:
                self._readers.setdefault(name, []).append(op)
        self._known_types: dict[str, int | None] = {
            t.name: t.data_type for t in self._initializers.values()
        } | {i.name: i.type.tensor_type.elem_type for i in self.inputs}
        self._places = Places(proto, {})
        self._find_derived()

    # ── constants ───────────────────────────────────────────────────────────────────────────

    def is_constant(self, name: str) -> bool:
        """Whether ``name`` is a constant: its value does not depend on the graph's inputs."""
        return name in self._initializers or name in self.derived

    def array(self, name: str) -> NDArray[Any]:
        """The value of constant ``name``; a large one is read from the bytes, not held twice."""
        if name in self._arrays:
            return self._arrays[name]
        if name not in self._initializers:
            self._evaluate_derived()
            return self._arrays[name]
        tensor = self._initializers[name]
        array = to_array(tensor)
        if array.size < _LARGE or not tensor.raw_data:  # lists of numbers take long to read
            self._arrays[name] = array
        return array

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of constant ``name``, without reading its values where that can be helped."""
        if name in self._initializers:
            return tuple(self._initializers[name].dims)
        return tuple(self.array(name).shape)

    def element_type(self, name: str) -> int:
        """The TensorProto type of constant ``name``."""
        if name in self._initializers:
            return int(self._initializers[name].data_type)
        return int(onnx.helper.np_dtype_to_tensor_dtype(self.array(name).dtype))

    def activation_type(self, name: str) -> int | None:
        """The TensorProto type of an activation; None where the nodes before it do not tell."""
        return element_type(name, self._known_types, self._producer)

    def origin(self, name: str) -> str:
        """The constant that ``name`` is a copy of, by way of Identity; itself where it is none."""
        while name in self.derived and self.ops[self.derived[name]].type == "Identity":
            name = self.ops[self.derived[name]].inputs[0]
        return name

    def weights(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Every floating-point constant that a node reads, with one place (node, input)."""
        seen: set[str] = set()
        for op in self.ops:
            if op.outputs and op.outputs[0] in self.derived:
                continue
            for i, name in enumerate(op.inputs):
                if (
                    name not in seen
                    and self.is_constant(name)
                    and self.element_type(name) in FLOATS
                ):
                    seen.add(name)
                    yield name, (op.index, i)

    def producer(self, name: str) -> Op | None:
        """The node that computes tensor ``name``; None for inputs and initializers."""
        return self._producer.get(name)

    def readers(self, name: str) -> list[Op]:
        """The nodes of the main graph that read tensor ``name``."""
        return self._readers.get(name, [])

    def branch_of(self, op: Op) -> str:
        """The prefix of the branch of an If that ``op`` is of (`hoist.py`), "" of none."""
        return self._places.of(next((name for name in op.outputs if name), "")) or ""

    def declared_shape(self, name: str) -> tuple[int | None, ...] | None:
        """The shape that the file states for ``name``; None where it states none."""
        value = self._declared.get(name)
        if value is None or not value.type.tensor_type.HasField("shape"):
            return None
        dims = value.type.tensor_type.shape.dim
        return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)

    # ── reading ─────────────────────────────────────────────────────────────────────────────

    def _read_ops(self) -> list[Op]:
        ops: list[Op] = []
        taken = {n.name for n in self.proto.graph.node if n.name}
        defined = {i.name for i in self.proto.graph.input} | set(self._initializers)
        defined |= set(self.sparse)
        used: set[str] = set()
        tried: dict[str, int] = {}
        for index, node in enumerate(self.proto.graph.node):
            name = node.name
            if not name or name in used:
                name = _unused(node.name or f"{node.op_type}_{index}", taken, tried)
                taken.add(name)
            used.add(name)
            for tensor in read_by(node):
                if tensor not in defined:
                    raise ModelError(
                        f"node '{name}' reads '{tensor}', which nothing produces: the file is"
                        " damaged; check it with onnx.checker"
                    )
            for tensor in node.output:
                if tensor and tensor in defined:
                    raise ModelError(
                        f"node '{name}' makes '{tensor}', which exists already: the file is damaged"
                    )
            defined.update(node.output)
            domain = _domain(node.domain)
            ops.append(
                Op(
                    index,
                    name,
                    node.op_type,
                    domain,
                    tuple(node.input),
                    tuple(node.output),
                    attributes_of(node, name, domain, self.opsets.get(domain, 1)),
                    self.opsets.get(domain, 1),
                    node,
                )
            )
        return ops

    def _find_derived(self) -> None:
        for op in self.ops:
            pure = (
                op.domain == "" and op.type not in RANDOM | WITH_BODIES and op.type not in QUANTIZED
            )
            if not pure or (not op.inputs and op.type != "Constant"):
                continue
            if op.type == "Dropout" and op.has(2):  # in training it is random
                continue
            if all(self.is_constant(i) for i in op.inputs if i) or self._has_known_type(op):
                for output in op.outputs:
                    self.derived[output] = op.index
        for op in self.ops:
            if op.type == "Constant" and op.outputs[0] in self.derived:
                value = constant_value(op)
                if value is None:
                    del self.derived[op.outputs[0]]
                else:
                    self._arrays[op.outputs[0]] = value

    def _has_known_type(self, op: Op) -> bool:
        """Whether ``op`` casts a constant like an activation whose type is known."""
        if op.type != "CastLike" or not self.is_constant(op.inputs[0]):
            return False
        kind = element_type(op.inputs[1], self._known_types, self._producer)
        if kind is not None:
            self._cast_types[op.index] = kind
        return kind is not None

    def _evaluated(self, op: Op) -> onnx.NodeProto:
        """The node that evaluates a derived constant: a CastLike reads no activation there."""
        if op.index not in self._cast_types:
            return op.proto
        to = self._cast_types[op.index]
        return onnx.helper.make_node("Cast", op.inputs[:1], op.outputs, to=to)

    def _evaluate_derived(self) -> None:
        """Evaluate, in one run, every derived constant that something else reads."""
        from reprune_onnx.runtime.ort import Session

        wanted = [n for n in self._frontier() if n not in self._arrays]
        indices = sorted(set(self._ancestors(wanted)))
        graph = onnx.GraphProto(name="constants")
        graph.node.extend(self._evaluated(self.ops[i]) for i in indices)
        read = {t for i in indices for t in self.ops[i].inputs}
        graph.initializer.extend(t for n, t in self._initializers.items() if n in read)
        graph.output.extend(onnx.ValueInfoProto(name=n) for n in wanted)
        model = onnx.ModelProto(ir_version=self.proto.ir_version, graph=graph)
        model.opset_import.extend(self.proto.opset_import)
        self._arrays.update(Session(model, optimize=False).run({}))

    def _frontier(self) -> Iterator[str]:
        seen: set[str] = set()
        for op in self.ops:
            if op.outputs and op.outputs[0] in self.derived:
                continue
            for name in (*op.inputs, *captured(op)):
                if name in self.derived and name not in seen:
                    seen.add(name)
                    yield name

    def _ancestors(self, names: list[str]) -> set[int]:
        indices: set[int] = set()
        stack = list(names)
        while stack:
            op = self._producer.get(stack.pop())
            if op is not None and op.index not in indices:
                indices.add(op.index)
                stack.extend(i for i in op.inputs if self.is_constant(i))
        return indices


def captured(op: Op) -> set[str]:
    """The outer tensors that the bodies (If, Loop, Scan) of ``op`` read."""
    return {
        name
        for value in op.attrs.values()
        for graph in (value if isinstance(value, list) else [value])
        if isinstance(graph, onnx.GraphProto)
        for name in outer_tensors(graph)
    }


def constant_value(op: Op) -> NDArray[Any] | None:
    """The value of a Constant node; None for a kind that is not a dense tensor."""
    for kind, value in op.attrs.items():
        if kind == "value":
            return to_array(value)
        if kind in ("value_int", "value_ints"):
            return np.asarray(value, dtype=np.int64)
        if kind in ("value_float", "value_floats"):
            return np.asarray(value, dtype=np.float32)
    return None


def to_array(tensor: onnx.TensorProto) -> NDArray[Any]:
    """The values of a TensorProto; ModelError where they are incomplete, or no real numbers."""
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"tensor '{tensor.name}' of shape {list(tensor.dims)} has damaged values ({error}):"
            " copy or export the file again"
        ) from error
    if array.dtype.kind == "c":
        raise ModelError(
            f"tensor '{tensor.name}' holds complex numbers, which no layer that this tool"
            " knows reads: check the file with onnx.checker"
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        with np.errstate(invalid="ignore"):
            array = array + array.dtype.type(0)  # no NaN signals: whoever casts it is not warned
    return array


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _unused(name: str, taken: set[str], tried: dict[str, int]) -> str:
    """A name like ``name``; ``tried`` remembers its last number: thousands may be named alike."""
    candidate, k = name, tried.get(name, 1)
    while candidate in taken:
        k += 1
        candidate = f"{name}_{k}"
    tried[name] = k
    return candidate
