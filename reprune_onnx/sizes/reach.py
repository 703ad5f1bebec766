"""The reach of sizes of a model's inputs: one pass over its nodes, up to the first that fails.

Sizes that are tried are numbers, so that all shapes are, and what the graph computes of shapes:
small numbers are computed on the way. Only behind an op whose shapes onnx does not know nothing is
known, unless a run up to what a node reads tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.bodies import with_bodies
from reprune_onnx.errors import ModelError
from reprune_onnx.order import read_by
from reprune_onnx.plain_ops import in_plain_ops
from reprune_onnx.reference import reference
from reprune_onnx.runtime.extents import extents_in_a_run
from reprune_onnx.sizes.held import MOST, held_by_a_node
from reprune_onnx.sizes.need import Extents, Need, Tensors, times, title
from reprune_onnx.sizes.needs import constants_of, extents_of, need_of, small_numbers, wants

Shapes = dict[str, tuple[int, ...]]

_SMALL = 1024  # numbers of a computed tensor beyond which it is no shape
_AT_PLACES = {"GatherElements", "GatherND", "RoiAlign", "ScatterElements", "ScatterND"}
_OF_SHAPES = "[ShapeInferenceError]"  # in onnx's sentences; others say that a type is not known
_DRAWS = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"}


_MEMORY = "memory"  # what such a need is of, in the place of a node

NOT_RUN = Need("", "ONNX Runtime does not run the model", known=False)


@dataclass(frozen=True)
class Reached:
    """The reach of sizes: ``need`` is that of the first node that they do not, if any.

    ``place`` is the node's, counted from 0, or the number of nodes. ``met`` holds the needs of the
    nodes before it. ``sure`` says that nothing but shapes, which all are known, decides whether the
    model runs. ``held`` is the sum of what nodes read and make, in numbers.
    """

    place: int
    need: Need | None
    met: Mapping[str, Need]
    sure: bool
    held: int

    @property
    def too_large(self) -> bool:
        """Whether the sizes end where a run would hold more numbers than a proof may."""
        return self.need is not None and self.need.node == _MEMORY


@dataclass(frozen=True)
class _Step:
    """The need of a node, the numbers that it reads and makes, and whether all shapes are known."""

    need: Need | None
    held: int = 0
    is_known: bool = False


@dataclass
class _Facts:
    """The known facts of tensors, by name, at sizes that are tried."""

    extents: dict[str, Extents | None]
    types: dict[str, onnx.TypeProto]
    numbers: dict[str, NDArray[Any]]
    integers: dict[str, list[int]]

    def copied(self) -> _Facts:
        return _Facts(*(dict(getattr(self, field.name)) for field in fields(self)))

    def add_numbers(self, name: str, array: NDArray[Any]) -> None:
        self.numbers[name] = array
        if array.dtype.kind in "iu":
            self.integers[name] = array.ravel().tolist()

    def add_extents(self, name: str, extents: Extents, kind: int = onnx.TensorProto.FLOAT) -> None:
        self.extents[name] = extents
        self.types[name] = onnx.helper.make_tensor_type_proto(kind, extents)


@dataclass
class _Node:
    """A node, what inference and onnx's reference make of it, and the last answer of inference."""

    proto: onnx.NodeProto
    reads: list[str]
    schema: onnx.defs.OpSchema | None
    compute: Any = None
    asked: object = None
    told: dict[str, onnx.TypeProto] | str = field(default_factory=dict)


class Reach:
    """The nodes of a model, in an order in which each stands behind what it reads."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto = proto
        self._opsets = {opset.domain: opset.version for opset in proto.opset_import}
        constants = constants_of(proto.graph)
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in proto.graph.node]
        in_plain_ops(nodes, {n for n, t in constants.items() if len(t.dims) == 2})
        self._constants = _Facts({}, {}, {}, {})
        for name, tensor in constants.items():
            self._constants.add_extents(name, tuple(tensor.dims), tensor.data_type)
            numbers = small_numbers(tensor)
            if numbers is not None:
                self._constants.add_numbers(name, numbers)
        self._weights = {name: tuple(tensor.dims) for name, tensor in constants.items()}
        self._nodes = [
            _Node(node, [*dict.fromkeys(read_by(node))], self._schema(node))
            for node in nodes
            if not constants.keys() & set(node.output)
        ]
        self._kinds = {i.name: i.type.tensor_type.elem_type for i in proto.graph.input}
        self._at_places = any(node.op_type in _AT_PLACES for node in with_bodies(nodes))

    def of(self, shapes: Mapping[str, Extents], *, measured: bool = False) -> Reached:
        """The reach of inputs of these ``shapes``.

        Where ``measured``, what inference does not know is seen in runs of what leads to it.
        """
        met: dict[str, Need] = {}
        is_sure, held = not self._at_places, 0
        for place, step in enumerate(self._passed(shapes, measured)):
            if step.need is not None and not step.need.is_met:
                need = replace(step.need, known=step.need.known and not measured)
                return Reached(place, need, met, is_sure, held)
            if step.need is not None:
                met[step.need.node] = step.need
            is_sure, held = is_sure and step.is_known, held + step.held
        return Reached(len(self._nodes), None, met, is_sure, held)

    def too_large(self, shapes: Mapping[str, Extents]) -> bool:
        """Whether a node would hold more numbers than a proof may, also one behind a misfit.

        ONNX Runtime may run that first. What is not known counts none.
        """
        return any(step.held > MOST for step in self._passed(shapes, measured=False))

    def _passed(self, shapes: Mapping[str, Extents], measured: bool) -> Iterator[_Step]:
        """The facts of each node in turn; behind a misfit fewer are known."""
        facts = self._constants.copied()
        for name, extents in shapes.items():
            facts.add_extents(name, tuple(extents), self._kinds[name])
        tensors = Tensors(facts.extents, self._weights, facts.integers)
        for node in self._nodes:
            if measured and wants(node.proto) and not self._measure(node.proto, shapes, facts):
                yield _Step(NOT_RUN)
                continue
            refused = self._follow(node, facts)
            need = need_of(tensors, node.proto)
            made = {name: facts.extents.get(name) for name in node.proto.output if name}
            come = {name: facts.extents.get(name) for name in node.proto.input}
            held = held_by_a_node([node.proto], come | made)
            if need is None or need.is_met:
                need = refused or (_too_large(held) if held > MOST else need)
            yield _Step(need, held, None not in made.values())

    def _schema(self, node: onnx.NodeProto) -> onnx.defs.OpSchema | None:
        version = self._opsets.get(node.domain)
        try:
            return onnx.defs.get_schema(node.op_type, version or 1, node.domain)
        except onnx.defs.SchemaError:
            return None

    def _follow(self, node: _Node, facts: _Facts) -> Need | None:
        """Add what is known of what a node makes; the need where inference refuses it."""
        if node.schema is None:
            return None
        read = [(facts.extents.get(name), facts.numbers.get(name)) for name in node.reads]
        asked = [(e, None if a is None else (a.shape, a.tobytes())) for e, a in read]
        if asked != node.asked:
            node.asked, node.told = asked, self._inferred(node, facts)
        said = title(node.proto)
        if isinstance(node.told, str):
            is_known = all(extents is not None for extents, _ in read)
            return Need("", f"{said} does not fit ({node.told})") if is_known else None
        for name, told in node.told.items():
            extents = extents_of(told)
            if extents is not None and min(extents, default=0) < 0:
                return Need("", f"{said} makes {times(extents)}")
            facts.types[name], facts.extents[name] = told, extents
        self._compute(node, facts)
        return None

    def _inferred(self, node: _Node, facts: _Facts) -> dict[str, onnx.TypeProto] | str:
        """The types of what a node makes, or why it cannot; nothing where onnx does not know."""
        unknown = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
        types = {name: facts.types.get(name, unknown) for name in node.reads}
        data = {
            name: onnx.numpy_helper.from_array(facts.numbers[name], name)
            for name in node.reads
            if name in facts.numbers
        }
        opsets = [onnx.helper.make_opsetid(*opset) for opset in self._opsets.items()]
        assert node.schema is not None
        try:
            if not node.schema.has_type_and_shape_inference_function:
                return self._inferred_alone(node.proto, types, opsets)
            return onnx.shape_inference.infer_node_outputs(
                node.schema, node.proto, types, data, opset_imports=opsets
            )
        except Exception as error:  # onnx's C++ throws several kinds
            words = " ".join(str(error).split())
            return words[:160] if _OF_SHAPES in words else {}

    @staticmethod
    def _inferred_alone(
        node: onnx.NodeProto,
        types: Mapping[str, onnx.TypeProto],
        opsets: Sequence[onnx.OperatorSetIdProto],
    ) -> dict[str, onnx.TypeProto]:
        """Of an op that is a function of others, inference tells in a model."""
        graph = onnx.GraphProto(name="node", node=[node])
        graph.input.extend(onnx.ValueInfoProto(name=name, type=t) for name, t in types.items())
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
        model = onnx.ModelProto(ir_version=8, graph=graph, opset_import=opsets)
        told = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        return {value.name: value.type for value in told.output}

    def _compute(self, node: _Node, facts: _Facts) -> None:
        """Add the numbers that a node computes of known ones, or of what is known of shapes."""
        proto = node.proto
        made = [facts.extents.get(name) for name in proto.output if name]
        if proto.domain or proto.op_type in _DRAWS or any(a.HasField("g") for a in proto.attribute):
            return
        if any(extents is None or prod(extents) > _SMALL for extents in made):
            return
        feeds: list[NDArray[Any] | None] = []
        for name in proto.input:
            extents = facts.extents.get(name)
            if proto.op_type in ("Shape", "Size") and extents is not None:
                feeds.append(np.broadcast_to(np.float32(0), extents))
            elif not name or name in facts.numbers:
                feeds.append(facts.numbers.get(name))
            else:
                return
        node.compute = node.compute or reference(proto, self._opsets.get("", 1))
        for name, result in zip(
            filter(None, proto.output), node.compute(feeds) or (), strict=False
        ):
            facts.add_numbers(name, result)

    def _measure(self, node: onnx.NodeProto, shapes: Mapping[str, Extents], facts: _Facts) -> bool:
        """Add what a node reads and nothing is known of; False where that does not run."""
        data, target = node.input, [""]
        if node.op_type == "Reshape":
            data, target = node.input[:1], node.input[1:2]
        names = [name for name in data if name and facts.extents.get(name) is None]
        targets = [name for name in target if name and name not in facts.numbers]
        if not names and not targets:
            return True
        try:
            seen = extents_in_a_run(
                self._proto, names, dict(shapes), all_nodes=False, targets=targets
            )
        except (MemoryError, ModelError):
            return False
        for name in names:
            facts.add_extents(name, seen[name])
        for name in targets:
            facts.add_extents(name, (len(seen[name]),), onnx.TensorProto.INT64)
            facts.add_numbers(name, np.array(seen[name], np.int64))
        return True


def _too_large(held: int) -> Need:
    text = f"a node reads and makes {held:,} numbers, and a proof holds at most {MOST:,}"
    return Need(_MEMORY, text, known=False)
