"""A network run in stretches over the same images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray

from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.workers import Workers
from reprune_onnx.analyzer.graph import Graph, Op, captured
from reprune_onnx.types import Floats, Model

Arrays = dict[str, NDArray[Any]]
_MEMORY = 128 << 20  # bytes of activations that one network keeps in memory
_LISTS = {
    "Optional",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceMap",
    "SplitToSequence",
}  # what they make is no array, and cannot wait for a later stretch


class Tape:
    """The tensors that are asked for in ``steps``, one step after the other.

    Step k computes ``steps[k]`` from what the steps before have left: each node runs once, with the
    weights of the time (but sequences are made anew for every step that reads them). A weight may
    be changed (`change`) until the node that reads it has run. ``images`` are the inputs of every
    batch.
    """

    def __init__(
        self,
        model: Model,
        images: Sequence[Arrays],
        steps: Sequence[Collection[str]],
        workers: Workers,
    ) -> None:
        self._graph = Graph(model)
        self._weights = {t.name: t for t in model.proto.graph.initializer}
        self._constants = self._find_constants()
        self._workers = workers
        self.batches = len(images)
        self._store = Store(_MEMORY)
        self._steps = [set(names) for names in steps]
        self._nodes = self._plan()
        self._next = 0
        for k, feeds in enumerate(images):
            for name, array in feeds.items():
                self._store.put(name, k, array)
        self._given = {name for feeds in images[:1] for name in feeds}

    def advance(self) -> None:
        """Take the next step: its tensors can be read afterwards, until the step after it."""
        k = self._next
        self._next += 1
        names, nodes = self._steps[k], self._nodes[k]
        live = self._live(k)
        made = self._made(nodes)
        wanted = sorted((names | live) & made)
        if wanted:
            self._run(nodes, wanted)
        for name in self._store.names() - names - live:
            self._store.drop(name)

    def change(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Give initializers other values, for the nodes that have not run yet."""
        for name, array in weights.items():
            self._weights[name] = onnx.numpy_helper.from_array(array, name)

    def batch(self, k: int) -> Arrays:
        """Return the tensors of the step in batch ``k``."""
        return {name: self._store.get(name, k) for name in self._steps[self._next - 1]}

    def rescale(self, layer: Linear, scale: Floats, shift: Floats) -> None:
        """Let the outputs of a layer that has just run be scale·y + shift, (n_out,) each."""
        name = layer.op.outputs[0]
        shape = (-1, *[1] * layer.trailing)

        def one(k: int) -> None:
            y = self._store.get(name, k)
            new = y * scale.reshape(shape) + shift.reshape(shape)
            self._store.put(name, k, new.astype(y.dtype))

        self._workers.run(one, self.batches)

    # ── which nodes, and what stays ─────────────────────────────────────────────────────────

    def _find_constants(self) -> set[int]:
        """The nodes that read constants only; a CastLike reads an activation for its type."""
        known = {*self._weights, *self._graph.sparse}
        found = set()
        for op in self._graph.ops:
            if all(o in self._graph.derived for o in op.outputs) and _reads(op) <= known:
                found.add(op.index)
                known.update(op.outputs)
        return found

    def _plan(self) -> list[list[int]]:
        """The nodes that each step runs, in graph order."""
        done: set[int] = set()
        plan = []
        for names in self._steps:
            found = self._ancestors(names, done)
            done |= {i for i in found if self._op(i).type not in _LISTS}
            plan.append(sorted(found))
        return plan

    def _ancestors(self, names: Collection[str], done: set[int]) -> set[int]:
        found: set[int] = set()
        stack = list(names)
        while stack:
            op = self._graph.producer(stack.pop())
            if op is None or op.index in self._constants or op.index in found | done:
                continue
            found.add(op.index)
            stack.extend(_reads(op))
        return found

    def _live(self, k: int) -> set[str]:
        """What the steps after k read of what there is by then."""
        later = {
            name for nodes in self._nodes[k + 1 :] for i in nodes for name in _reads(self._op(i))
        }
        later |= {name for names in self._steps[k + 1 :] for name in names}
        made = self._made([i for nodes in self._nodes[: k + 1] for i in nodes])
        return later & (made | self._given)

    def _made(self, nodes: Collection[int]) -> set[str]:
        """The arrays that some nodes make."""
        plain = (self._op(i) for i in nodes if self._op(i).type not in _LISTS)
        return {o for op in plain for o in op.outputs if o}

    def _op(self, i: int) -> Op:
        return self._graph.ops[i]

    # ── running ─────────────────────────────────────────────────────────────────────────────

    def _run(self, nodes: list[int], wanted: list[str]) -> None:
        from reprune_onnx.runtime.ort import Session

        needed = {name for i in nodes for name in _reads(self._op(i))}
        feeds = sorted(needed & self._store.names())
        proto = self._stretch(nodes, feeds, wanted)
        session = Session(proto, optimize=True, threads=1)

        def one(k: int) -> None:
            found = session.run({name: self._store.get(name, k) for name in feeds}, wanted)
            for name, array in found.items():
                self._store.put(name, k, array)

        self._workers.run(one, self.batches)

    def _stretch(self, nodes: list[int], feeds: list[str], wanted: list[str]) -> onnx.ModelProto:
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
        for name in feeds:
            array = self._store.get(name, 0)
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        model = onnx.ModelProto(ir_version=max(source.ir_version, 4), graph=graph)
        model.opset_import.extend(source.opset_import)
        model.functions.extend(source.functions)
        return model

    def _constant_ancestors(self, nodes: list[int]) -> set[int]:
        found: set[int] = set()
        stack = [name for i in nodes for name in _reads(self._op(i))]
        while stack:
            op = self._graph.producer(stack.pop())
            if op is not None and op.index in self._constants and op.index not in found:
                found.add(op.index)
                stack.extend(_reads(op))
        return found


def _reads(op: Op) -> set[str]:
    return {name for name in op.inputs if name} | captured(op)
