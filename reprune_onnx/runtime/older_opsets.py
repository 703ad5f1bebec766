"""Opset 6 and older, said in opset 7: ONNX Runtime has no kernels for what changed before.

onnx's own version converter lacks the ops that changed most (Pad, Upsample), and loses the types of
what it cannot infer. What changed is little: marks of memory that may be overwritten, modes of
training, sizes as attributes, and operands that are put over each other from an ``axis`` on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from reprune_onnx.attributes import attribute
from reprune_onnx.bodies import bodies
from reprune_onnx.errors import ModelError

OLDEST = 7
"""The first opset that ONNX Runtime promises to run."""

_OWN = ("", "ai.onnx")
_NOT_INFERRED = (
    onnx.defs.SchemaError,
    onnx.shape_inference.InferenceError,
    onnx.checker.ValidationError,
    RuntimeError,
    ValueError,
)


def raised(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in opset 7 that computes the same under the same names; itself where it is not older.

    Raises ModelError, with the node, for what cannot be said in opset 7.
    """
    opset = next((o.version for o in proto.opset_import if o.domain in _OWN), OLDEST)
    if opset >= OLDEST:
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.opset_import[:]
    copy.opset_import.append(onnx.helper.make_opsetid("", OLDEST))
    copy.opset_import.extend(o for o in proto.opset_import if o.domain not in _OWN)
    _raise(copy.graph, _Tensors({}, {}, max(proto.ir_version, 3)))
    return copy


@dataclass(frozen=True)
class _Tensors:
    """The types of the tensors before a node, and the values of the constants among them."""

    types: dict[str, onnx.TypeProto]
    values: dict[str, onnx.TensorProto]
    ir: int

    def within(self, graph: onnx.GraphProto) -> _Tensors:
        """The known tensors before the first node of ``graph``."""
        stated = (*graph.input, *graph.value_info)
        types = {v.name: v.type for v in stated if _rank(v.type) is not None}
        types |= {t.name: _type_of(t) for t in graph.initializer}
        values = {t.name: t for t in graph.initializer}
        return _Tensors(self.types | types, self.values | values, self.ir)

    def rank(self, node: onnx.NodeProto, i: int) -> int:
        """The number of axes of an operand; ModelError where the file does not tell."""
        kind = self.types.get(node.input[i])
        rank = None if kind is None else _rank(kind)
        if rank is None:
            raise ModelError(
                f"{_title(node)} puts its operands over each other by an axis, and the file does"
                f" not tell how many axes '{node.input[i]}' has: state its shape, or export the"
                f" model again with opset {OLDEST} or newer"
            )
        return rank

    def numbers(self, node: onnx.NodeProto, i: int) -> list[int]:
        """The whole numbers of a constant operand; ModelError where it is computed."""
        value = self.values.get(node.input[i])
        if value is None:
            raise ModelError(
                f"{_title(node)} reads '{node.input[i]}', which opset {OLDEST} wants as a constant:"
                f" export the model again with opset {OLDEST} or newer"
            )
        return [int(n) for n in onnx.numpy_helper.to_array(value).reshape(-1)]

    def learn(self, node: onnx.NodeProto) -> None:
        """Record the outputs of a node of opset 7; none where shape inference cannot tell."""
        for tensor in [a.t for a in node.attribute if node.op_type == "Constant"]:
            self.values[node.output[0]] = tensor
            self.types[node.output[0]] = _type_of(tensor)
        if not all(name in self.types for name in node.input if name):
            return
        try:
            made = onnx.shape_inference.infer_node_outputs(
                onnx.defs.get_schema(node.op_type, OLDEST, node.domain),
                node,
                {name: self.types[name] for name in node.input if name},
                {name: self.values[name] for name in node.input[1:] if name in self.values},
                opset_imports=[onnx.helper.make_opsetid("", OLDEST)],
                ir_version=self.ir,
            )
        except _NOT_INFERRED:
            return
        self.types.update((name, kind) for name, kind in made.items() if _rank(kind) is not None)


@dataclass
class _Draft:
    """A node that is being rewritten, and the nodes that have to stand before it."""

    node: onnx.NodeProto
    tensors: _Tensors
    taken: set[str]
    before: list[onnx.NodeProto] = field(default_factory=list)

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute."""
        return attribute(self.node, name, default)

    def put(self, name: str, value: Any) -> None:
        """Give an attribute a value."""
        self.drop(name)
        self.node.attribute.append(onnx.helper.make_attribute(name, value))

    def drop(self, *names: str) -> None:
        """Take attributes away."""
        kept = [a for a in self.node.attribute if a.name not in names]
        del self.node.attribute[:]
        self.node.attribute.extend(kept)

    def constant(self, numbers: Sequence[int], what: str) -> str:
        """The name of a new constant of whole numbers."""
        name = self._new(what)
        value = onnx.numpy_helper.from_array(np.array(numbers, dtype=np.int64))
        self.before.append(onnx.helper.make_node("Constant", [], [name], value=value))
        return name

    def append_axes(self, i: int, n: int) -> None:
        """Let operand ``i`` have ``n`` more axes of 1 behind its own."""
        if n <= 0:
            return
        rank, name = self.tensors.rank(self.node, i), self._new("aligned")
        axes = list(range(rank, rank + n))
        wider = onnx.helper.make_node("Unsqueeze", [self.node.input[i]], [name], axes=axes)
        self.before.append(wider)
        self.node.input[i] = name

    def _new(self, what: str) -> str:
        name = f"{self.node.output[0]}_{what}"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def _raise(graph: onnx.GraphProto, outside: _Tensors) -> None:
    """Rewrite the nodes of a graph and of its bodies, in their order."""
    tensors = outside.within(graph)
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= set(tensors.types)
    nodes: list[onnx.NodeProto] = []
    for source in graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(source)
        for body in bodies(node):
            _raise(body, tensors)
        draft = _Draft(node, tensors, taken)
        if node.domain in _OWN:
            draft.drop("consumed_inputs")  # memory that may be overwritten
            _ADAPTERS.get(node.op_type, _as_it_is)(draft)
        for made in (*draft.before, node):
            tensors.learn(made)
            nodes.append(made)
    del graph.node[:]
    graph.node.extend(nodes)


# ── what changed, op by op ──────────────────────────────────────────────────────────────────────


def _as_it_is(d: _Draft) -> None:
    del d


def _without(*names: str) -> Callable[[_Draft], None]:
    def drop(d: _Draft) -> None:
        d.drop(*names)

    return drop


def _aligned(d: _Draft) -> None:
    """The second operand lies over the first from ``axis`` on; without one, over its last axes."""
    axis, spread = d.attribute("axis"), d.attribute("broadcast", 0)
    d.drop("axis", "broadcast")
    if spread and axis is not None:
        a, b = d.tensors.rank(d.node, 0), d.tensors.rank(d.node, 1)
        d.append_axes(1, a - axis % a - b)


def _slope(d: _Draft) -> None:
    """One slope per channel, which is the second axis."""
    if d.tensors.rank(d.node, 1) == 1:
        d.append_axes(1, d.tensors.rank(d.node, 0) - 2)


def _cast(d: _Draft) -> None:
    to = d.attribute("to")
    if isinstance(to, bytes):
        d.put("to", onnx.TensorProto.DataType.Value(to.decode().upper()))


def _concat(d: _Draft) -> None:
    d.put("axis", d.attribute("axis", 1))


def _reshape(d: _Draft) -> None:
    shape = d.attribute("shape")
    if shape is not None:
        d.drop("shape")
        d.node.input.append(d.constant(shape, "shape"))


def _pad(d: _Draft) -> None:
    paddings = d.attribute("paddings")
    if paddings is not None:
        d.drop("paddings")
        d.put("pads", paddings)


def _split(d: _Draft) -> None:
    if len(d.node.input) > 1:
        d.put("split", d.tensors.numbers(d.node, 1))
        del d.node.input[1:]


def _tile(d: _Draft) -> None:
    if len(d.node.input) > 2:
        (times,), (axis,) = d.tensors.numbers(d.node, 1), d.tensors.numbers(d.node, 2)
        repeats = [1] * d.tensors.rank(d.node, 0)
        repeats[axis] = times
        del d.node.input[1:]
        d.node.input.append(d.constant(repeats, "repeats"))


def _upsample(d: _Draft) -> None:
    """Of an image (n, c, h, w)."""
    scales = [d.attribute(f"{side}_scale") for side in ("height", "width")]
    if None not in scales:
        d.drop("height_scale", "width_scale")
        d.put("scales", [1.0, 1.0, *scales])


def _norm(d: _Draft) -> None:
    p = d.attribute("p", 2)
    if int(p) != p:
        raise ModelError(
            f"{_title(d.node)} takes the norm of p = {p:g}, and ONNX Runtime knows those of whole"
            " numbers only: replace the node by ones that compute it"
        )
    d.put("p", int(p))


_TABLE: list[tuple[str, Callable[[_Draft], None]]] = [
    ("BatchNormalization Dropout", _without("is_test")),
    ("Gemm", _without("broadcast")),
    ("GRU LSTM RNN", _without("output_sequence")),
    ("Add And Div Equal Greater Less Mul Or Pow Sub Xor", _aligned),
    ("PRelu", _slope),
    ("Cast", _cast),
    ("Concat", _concat),
    ("Reshape", _reshape),
    ("Pad", _pad),
    ("Split", _split),
    ("Tile", _tile),
    ("Upsample", _upsample),
    ("GlobalLpPool LpPool", _norm),
]
_ADAPTERS = {op: adapt for ops, adapt in _TABLE for op in ops.split()}


def _rank(kind: onnx.TypeProto) -> int | None:
    tensor = kind.tensor_type
    return len(tensor.shape.dim) if tensor.HasField("shape") else None


def _type_of(tensor: onnx.TensorProto) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)


def _title(node: onnx.NodeProto) -> str:
    return f"{node.op_type} '{node.name or next(iter(node.output), '')}'"
