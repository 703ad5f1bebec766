"""Parts of a network as models of their own, which go on from tensors that were computed before."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.activations.half import half, make_half, read_half
from reprune_onnx.analyzer.graph import Graph, Op, captured
from reprune_onnx.runtime.ort import Session, Use
from reprune_onnx.types import Model

Arrays = dict[str, NDArray[Any]]
"""Tensors of one batch by name."""

_LISTS = {
    "Optional",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceMap",
    "SplitToSequence",
}  # what they make is no array, and cannot wait for a later step


@dataclass(frozen=True)
class Kind:
    """The type of a tensor, and its extents where they are the same in all batches.

    Not all of ONNX's inference takes an extent that is not known for one that is not known.
    """

    dtype: np.dtype[Any]
    extents: tuple[int | None, ...]

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, ...]], array: NDArray[Any]) -> Kind:
        """Return that of a tensor of some ``shapes``, of which ``array`` is one."""
        extents = (n[0] if len(set(n)) == 1 else None for n in zip(*shapes, strict=True))
        return cls(array.dtype, tuple(extents))


@dataclass(frozen=True)
class Stretch:
    """Some nodes of a network, which make the tensors ``looked_at`` and others, ``kept``, to go on.

    What is read and kept of ``halves`` is in float16.
    """

    session: Session
    inputs: frozenset[str]
    looked_at: frozenset[str]
    kept: frozenset[str]
    halves: frozenset[str]

    def run(self, known: Arrays) -> tuple[Arrays, Arrays]:
        """Return what is looked at, and what is kept."""
        made = self.session.run({self._held(name): known[name] for name in self.inputs})
        return (
            {name: made[name] for name in self.looked_at},
            {name: made[self._held(name)] for name in self.kept},
        )

    def _held(self, name: str) -> str:
        return half(name) if name in self.halves else name


class Parts:
    """The parts of a network; `change` gives weights other values for parts that are made later."""

    def __init__(self, model: Model) -> None:
        self.graph = Graph(model)
        self._weights = {t.name: t for t in model.proto.graph.initializer}
        self._constants = self._find_constants()

    def change(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Give initializers other values."""
        for name, array in weights.items():
            self._weights[name] = onnx.numpy_helper.from_array(array, name)

    def before(self, names: Collection[str], done: set[int]) -> set[int]:
        """The nodes that make some tensors, from what the nodes ``done`` make and constants."""
        nodes: set[int] = set()
        stack = list(names)
        while stack:
            op = self.graph.producer(stack.pop())
            if op is None or op.index in self._constants or op.index in nodes | done:
                continue
            nodes.add(op.index)
            stack.extend(_reads(op))
        return nodes

    def makes_arrays(self, node: int) -> bool:
        """Whether what a node makes can wait for a later step."""
        return self._op(node).type not in _LISTS

    def made(self, nodes: Collection[int]) -> set[str]:
        """The arrays that some nodes make."""
        return {o for i in nodes if self.makes_arrays(i) for o in self._op(i).outputs if o}

    def read(self, nodes: Collection[int]) -> set[str]:
        """The tensors that some nodes read."""
        return {name for i in nodes for name in _reads(self._op(i))}

    def stretch(
        self,
        nodes: list[int],
        known: Mapping[str, Kind],
        looked_at: Collection[str],
        kept: Collection[str],
        halves: Collection[str] = (),
        use: Use = "one of many",
    ) -> Stretch | None:
        """Return what makes some tensors by ``nodes``, from what is ``known``; None for nothing."""
        made, halves = self.made(nodes), set(halves)
        given = known.keys() - made
        widened = given & halves & set(looked_at)
        seen, kept = made.intersection(looked_at) | widened, made.intersection(kept)
        if not seen | kept:
            return None
        inputs = (self.read(nodes) & given) | widened
        outputs = sorted(seen | (kept - halves))
        model = self._model(nodes, {name: known[name] for name in sorted(inputs)}, outputs)
        read_half(model.graph, halves & inputs)
        make_half(model.graph, halves & kept)
        session = Session(model, optimize=True, threads=1, use=use)
        return Stretch(session, *map(frozenset, (inputs, seen, kept, halves)))

    def _model(
        self, nodes: list[int], inputs: Mapping[str, Kind], outputs: list[str]
    ) -> onnx.ModelProto:
        """A model of some nodes, and of the constants that they read."""
        source = self.graph.proto
        constants = self._constants_before(nodes)
        chosen = [self._op(i) for i in sorted({*nodes, *constants})]
        chosen = [op for op in chosen if not self._weights.keys() & op.outputs]  # changed Constants
        read = {name for op in chosen for name in _reads(op)}
        graph = onnx.GraphProto(name=source.graph.name)
        graph.node.extend(op.proto for op in chosen)
        graph.initializer.extend(t for name, t in self._weights.items() if name in read)
        graph.sparse_initializer.extend(
            t for t in source.graph.sparse_initializer if t.values.name in read
        )
        for name, kind in inputs.items():
            number = onnx.helper.np_dtype_to_tensor_dtype(kind.dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, number, kind.extents))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        model = onnx.ModelProto(ir_version=max(source.ir_version, 4), graph=graph)
        model.opset_import.extend(source.opset_import)
        model.functions.extend(source.functions)
        return model

    def _find_constants(self) -> set[int]:
        """The nodes that read constants only; a CastLike reads an activation for its type."""
        constant_names = {*self._weights, *self.graph.sparse}
        constants = set()
        for op in self.graph.ops:
            if all(o in self.graph.derived for o in op.outputs) and _reads(op) <= constant_names:
                constants.add(op.index)
                constant_names.update(op.outputs)
        return constants

    def _constants_before(self, nodes: list[int]) -> set[int]:
        constants: set[int] = set()
        stack = list(self.read(nodes))
        while stack:
            op = self.graph.producer(stack.pop())
            if op is not None and op.index in self._constants and op.index not in constants:
                constants.add(op.index)
                stack.extend(_reads(op))
        return constants

    def _op(self, i: int) -> Op:
        return self.graph.ops[i]


def _reads(op: Op) -> set[str]:
    return {name for name in op.inputs if name} | captured(op)
