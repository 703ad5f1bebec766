"""A network run in stretches, over more images the deeper it gets.

An early layer has many positions in every image, so that few images show what it does; a late one
needs all of them. Between two steps only the frontier is held: what later steps read of what was
computed, for the images that have come so far. Images that come later run from the input to the
frontier in one go, with the weights of the time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.store import Store
from reprune_onnx.analyzer.graph import Graph, Op, captured
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Floats, Model

Arrays = dict[str, NDArray[Any]]
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
class _Stretch:
    """Some nodes of the network, as a session that makes ``outputs`` from ``inputs``."""

    session: Session
    inputs: list[str]
    outputs: list[str]


class Frontier:
    """The tensors that are asked for in ``steps``, one step after the other, batch by batch.

    Step k looks at the first ``counts[k]`` batches of ``images``, the inputs of every batch. Each
    node runs once per image (but sequences are made anew for every step that reads them), unless
    counts grow again after they fell: then what was dropped is computed from the input again. A
    weight may be changed (`change`) until the node that reads it has run.
    """

    def __init__(
        self,
        model: Model,
        images: Sequence[Arrays],
        steps: Sequence[Collection[str]],
        counts: Sequence[int],
        store: Store,
    ) -> None:
        self._graph = Graph(model)
        self._weights = {t.name: t for t in model.proto.graph.initializer}
        self._constants = self._find_constants()
        self._images, self._store = images, store
        self._given = {name for feeds in images[:1] for name in feeds}
        self._steps, self._counts = [set(names) for names in steps], counts
        self._nodes = self._plan()
        self._step = -1
        self._held = 0  # the batches that the frontier is held for
        self._needed: set[str] = set()  # what this step and later ones read of earlier ones
        self._live: set[str] = set()  # what later steps read of this one and of earlier ones

    @property
    def batches(self) -> int:
        """The number of batches that this step looks at."""
        return self._counts[self._step]

    def advance(self) -> None:
        """Begin the next step, whose tensors `compute` returns."""
        before = self.batches if self._step >= 0 else 0
        self._step += 1
        k = self._step
        self._needed, self._live = self._live, self._read_after(k)
        self._held = min(before, self.batches)
        self._store.keep(self._needed, self._held)
        asked = self._steps[k] | self._live
        self._onward = self._afresh = None
        if self._held:
            self._onward = self._stretch(self._nodes[k], self._needed | self._given, asked)
        if self._held < self.batches:
            nodes = sorted({i for nodes in self._nodes[: k + 1] for i in nodes})
            self._afresh = self._stretch(nodes, self._given, asked)

    def compute(self, b: int) -> Arrays:
        """Return the tensors of this step in batch ``b``; to be called once for each batch.

        What later steps read is put aside, what they do not read is forgotten.
        """
        stretch = self._onward if b < self._held else self._afresh
        arrays = dict(self._images[b])
        if b < self._held:
            arrays |= {name: self._store.get(name, b) for name in self._needed}
        if stretch is not None:
            feeds = {name: arrays[name] for name in stretch.inputs}
            made = stretch.session.run(feeds, stretch.outputs)
            arrays |= made
            for name in self._needed - self._live:
                self._store.drop(name, b)
            for name in self._live & made.keys():
                self._store.put(name, b, made[name])
        return {name: arrays[name] for name in self._steps[self._step]}

    def change(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Give initializers other values, for the nodes that have not run yet."""
        for name, array in weights.items():
            self._weights[name] = onnx.numpy_helper.from_array(array, name)

    def rescale(self, layer: Linear, scale: Floats, shift: Floats) -> None:
        """Let the outputs of a layer that has just run be scale·y + shift, (n_out,) each."""
        name = layer.op.outputs[0]
        shape = (-1, *[1] * layer.trailing)
        for b in range(self.batches if name in self._live else 0):
            y = self._store.get(name, b)
            rescaled = y * scale.reshape(shape) + shift.reshape(shape)
            self._store.put(name, b, rescaled.astype(y.dtype))

    # ── which nodes, and what stays ─────────────────────────────────────────────────────────

    def _find_constants(self) -> set[int]:
        """The nodes that read constants only; a CastLike reads an activation for its type."""
        constant_names = {*self._weights, *self._graph.sparse}
        constants = set()
        for op in self._graph.ops:
            if all(o in self._graph.derived for o in op.outputs) and _reads(op) <= constant_names:
                constants.add(op.index)
                constant_names.update(op.outputs)
        return constants

    def _plan(self) -> list[list[int]]:
        """The nodes that each step runs, in graph order."""
        done: set[int] = set()
        plan = []
        for names in self._steps:
            nodes = self._ancestors(names, done)
            done |= {i for i in nodes if self._op(i).type not in _LISTS}
            plan.append(sorted(nodes))
        return plan

    def _ancestors(self, names: Collection[str], done: set[int]) -> set[int]:
        nodes: set[int] = set()
        stack = list(names)
        while stack:
            op = self._graph.producer(stack.pop())
            if op is None or op.index in self._constants or op.index in nodes | done:
                continue
            nodes.add(op.index)
            stack.extend(_reads(op))
        return nodes

    def _read_after(self, k: int) -> set[str]:
        """The arrays that the steps after k read, of those that the steps up to k make."""
        later = {
            name for nodes in self._nodes[k + 1 :] for i in nodes for name in _reads(self._op(i))
        }
        later |= {name for names in self._steps[k + 1 :] for name in names}
        return later & self._made([i for nodes in self._nodes[: k + 1] for i in nodes])

    def _made(self, nodes: Collection[int]) -> set[str]:
        """The arrays that some nodes make."""
        ops = (self._op(i) for i in nodes if self._op(i).type not in _LISTS)
        return {o for op in ops for o in op.outputs if o}

    def _op(self, i: int) -> Op:
        return self._graph.ops[i]

    # ── running ─────────────────────────────────────────────────────────────────────────────

    def _stretch(
        self, nodes: list[int], held: Collection[str], asked: Collection[str]
    ) -> _Stretch | None:
        """A session of some nodes that makes what is asked for and not known; None for nothing."""
        outputs = sorted(self._made(nodes) & set(asked))
        if not outputs:
            return None
        needed = {name for i in nodes for name in _reads(self._op(i))}
        inputs = sorted((needed - self._made(nodes)) & set(held))
        proto = self._model(nodes, inputs, outputs)
        return _Stretch(Session(proto, optimize=True, threads=1), inputs, outputs)

    def _model(self, nodes: list[int], inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
        """A model of some nodes, and of the constants that they read."""
        source = self._graph.proto
        constants = self._constant_ancestors(nodes)
        chosen = [self._op(i) for i in sorted({*nodes, *constants})]
        chosen = [op for op in chosen if not self._weights.keys() & op.outputs]  # changed Constants
        read = {name for op in chosen for name in _reads(op)}
        graph = onnx.GraphProto(name=source.graph.name)
        graph.node.extend(op.proto for op in chosen)
        graph.initializer.extend(t for name, t in self._weights.items() if name in read)
        graph.sparse_initializer.extend(
            t for t in source.graph.sparse_initializer if t.values.name in read
        )
        for name in inputs:
            array = self._images[0][name] if name in self._given else self._store.get(name, 0)
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, [None] * array.ndim))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        model = onnx.ModelProto(ir_version=max(source.ir_version, 4), graph=graph)
        model.opset_import.extend(source.opset_import)
        model.functions.extend(source.functions)
        return model

    def _constant_ancestors(self, nodes: list[int]) -> set[int]:
        constants: set[int] = set()
        stack = [name for i in nodes for name in _reads(self._op(i))]
        while stack:
            op = self._graph.producer(stack.pop())
            if op is not None and op.index in self._constants and op.index not in constants:
                constants.add(op.index)
                stack.extend(_reads(op))
        return constants


def _reads(op: Op) -> set[str]:
    return {name for name in op.inputs if name} | captured(op)
