"""The edits themselves, on a copy of the model's protobuf."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.fold import Places
from reprune_onnx.analyzer.graph import Graph, captured
from reprune_onnx.results import Rewrite, TensorCut
from reprune_onnx.surgeon.plan import Edit, Use
from reprune_onnx.types import Bools, Labels


class Surgery:
    """Edits ``proto``, a copy of the graph's model, and keeps a record for the report."""

    def __init__(self, proto: onnx.ModelProto, graph: Graph) -> None:
        self._proto = proto
        self._graph = graph
        self._nodes = list(proto.graph.node)
        self._initializers = {t.name: t for t in proto.graph.initializer}
        self._taken = set(self._initializers) | {i.name for i in proto.graph.input}
        self._taken |= {o for n in self._nodes for o in n.output}
        places = Places(proto, {})  # a branch has names of its own, which hide those around it
        self._taken |= {name.removeprefix(places.of(name) or "") for name in self._taken}
        self._made: set[str] = set()
        self._before = defaultdict[int, list[onnx.NodeProto]](list)  # nodes that come before one
        self._shapes: dict[str, tuple[int, ...]] = {}  # of the constants that were edited
        self.cuts: list[TensorCut] = []
        self.rewrites: list[Rewrite] = []

    def edit_constant(self, name: str, uses: dict[Use, Edit]) -> None:
        """Edit in place for the first kind of use that is edited; copies for all others."""
        array = self._graph.array(name)
        variants: dict[tuple[Any, ...], tuple[Edit, list[Use]]] = {}
        for use, edit in uses.items():
            variants.setdefault(edit.signature(), (edit, []))[1].append(use)
        in_place = all(edit for edit, _ in variants.values())
        for edit, readers in variants.values():
            if not edit:
                continue
            result = edit.apply(array)
            target = name if in_place and self._replace(name, result) else self._copy(name, result)
            if target != name:
                for node, i in readers:
                    self._nodes[node].input[i] = target
            in_place = False
            self._record(name, target, edit, (array, result))

    def edit_attribute(self, node: int, attribute: str, values: dict[int, int]) -> None:
        """Set elements of an integer attribute, or the whole of it where it is one integer."""
        proto = self._nodes[node]
        old = self._graph.ops[node].attrs.get(attribute)
        if isinstance(old, list):
            new: list[int] | int = [values.get(k, v) for k, v in enumerate(old)]
        elif old is None:  # a Split without sizes
            new = [values[k] for k in sorted(values)]
            if len(set(new)) == 1:
                return  # equal parts stay equal without being written down
        else:
            new = values[0]
        if new == old:
            return
        self._set_attribute(proto, attribute, new)
        self.rewrites.append(Rewrite(self._graph.ops[node].name, True, old, new))

    def add_sizes(self, node: int, i: int, sizes: list[int]) -> None:
        """Give a Split the sizes it left to be equal."""
        op, proto = self._graph.ops[node], self._nodes[node]
        name = self._copy(f"{op.name}_split", np.array(sizes, dtype=np.int64))
        del proto.input[i:]  # a name left empty
        proto.input.append(name)
        kept = [a for a in proto.attribute if a.name != "num_outputs"]
        del proto.attribute[:]
        proto.attribute.extend(kept)
        self.rewrites.append(Rewrite(op.name, True, None, sizes))

    def write_down(self, node: int, i: int, numbers: NDArray[Any], fixed: Bools) -> None:
        """Let a node read constants where it read numbers that the graph computes.

        Those that are not ``fixed`` it still reads as the graph computes them: a Where before it
        picks the constants.
        """
        op, proto = self._graph.ops[node], self._nodes[node]
        name = self._copy(op.inputs[i], numbers)
        if not fixed.all():
            chosen = self._copy(f"{op.inputs[i]}_written", fixed)
            target = self._name(f"{op.inputs[i]}_followed")
            inputs = [chosen, name, op.inputs[i]]
            self._before[node].append(onnx.helper.make_node("Where", inputs, [target], name=target))
            name = target
        proto.input[i] = name
        values, which = numbers.ravel().tolist(), fixed.ravel().tolist()
        after = [n if written else None for n, written in zip(values, which, strict=True)]
        self.rewrites.append(Rewrite(op.name, True, None, after))

    def write_extents(self, node: int, extents: NDArray[np.int64]) -> None:
        """Let a Shape of a constant be what it was before that constant was cut."""
        self._make_constant(node, extents)

    def remove_unused(self) -> None:
        """Remove what computed constants that are now written down, and only that.

        What nobody read in the original stays, and so do initializers that are graph inputs.
        """
        for index in {self._graph.derived[n] for n in self._made}:
            outputs = [o if o not in self._made else "" for o in self._nodes[index].output]
            self._nodes[index].output[:] = outputs
        constant = set(self._graph.derived.values())
        before = {name for op in self._graph.ops for name in (*op.inputs, *captured(op))}
        dead: set[int] = set()
        while True:
            now = self._read(dead)
            gone = before - now
            more = {
                index
                for index in constant - dead
                if not now.intersection(self._nodes[index].output)
                and gone.union(self._made).intersection(self._graph.ops[index].outputs)
            }
            if not more:
                break
            dead |= more
        if dead or self._before:
            alive = [
                node
                for index, node_itself in enumerate(self._nodes)
                for node in (
                    *self._before.get(index, ()),
                    *([] if index in dead else [node_itself]),
                )
            ]
            del self._proto.graph.node[:]
            self._proto.graph.node.extend(alive)
        gone = before - self._read(dead) - {i.name for i in self._proto.graph.input}
        for name in gone & set(self._initializers):
            self._proto.graph.initializer.remove(self._initializers.pop(name))

    def update_shapes(self, tensors: dict[str, Labels], keep: Bools) -> None:
        """Bring declared shapes of activations, and of weights that are also inputs, up to date.

        An axis that loses channels loses its symbol: one such as 8·batch may still name others.
        """
        for value in (*self._proto.graph.value_info, *self._proto.graph.input):
            name, declared = value.name, value.type.tensor_type.shape
            shape = self._shapes.get(name, self._shapes.get(self._graph.origin(name)))
            if shape is not None:
                for n, dim in zip(shape, declared.dim, strict=False):
                    if dim.HasField("dim_value"):
                        dim.dim_value = n
            elif name in tensors:
                kept = keep[tensors[name].ids]
                for axis, dim in enumerate(declared.dim):
                    if kept.ndim == len(declared.dim) and kept.shape[axis] > 1:
                        others = tuple(a for a in range(kept.ndim) if a != axis)
                        count = int(kept.any(axis=others).sum())
                        if dim.HasField("dim_value"):
                            dim.dim_value = count
                        elif count < kept.shape[axis]:
                            dim.ClearField("dim_param")

    # ── onnx-graphsurgeon makes tensors and attributes ──────────────────────────────────────

    def _replace(self, name: str, array: NDArray[Any]) -> bool:
        """Put the new value where the old one is; False where the name cannot be kept."""
        self._shapes[name] = array.shape
        if name in self._initializers:
            old = self._initializers[name]
            doc = old.doc_string
            old.CopyFrom(_tensor(name, array))
            if doc:
                old.doc_string = doc
            return True
        producer = self._graph.ops[self._graph.derived[name]]
        if producer.type == "Constant":
            _set_constant(self._nodes[producer.index], array)
            return True
        if self._proto.ir_version < 4:  # an initializer would be one more input of the graph
            return self._make_constant(producer.index, array)
        self._made.add(name)
        self._add(name, array)
        return True

    def _make_constant(self, index: int, array: NDArray[Any]) -> bool:
        node = self._nodes[index]
        if len(node.output) > 1:
            return False
        del node.input[:], node.attribute[:]
        node.op_type = "Constant"
        node.attribute.append(onnx.helper.make_attribute("value", _tensor(node.output[0], array)))
        return True

    def _copy(self, name: str, array: NDArray[Any]) -> str:
        target = self._name(f"{name}_pruned")
        self._add(target, array)
        return target

    def _name(self, stem: str) -> str:
        """A name that no tensor has: ``stem``, or with a number behind it."""
        k, target = 1, stem
        while target in self._taken:
            k += 1
            target = f"{stem}{k}"
        self._taken.add(target)
        return target

    def _add(self, name: str, array: NDArray[Any]) -> None:
        tensor = self._proto.graph.initializer.add()
        tensor.CopyFrom(_tensor(name, array))
        if self._proto.ir_version < 4:  # there, every initializer is also a graph input
            info = onnx.helper.make_tensor_value_info(name, tensor.data_type, array.shape)
            self._proto.graph.input.append(info)

    def _record(
        self, name: str, target: str, edit: Edit, arrays: tuple[NDArray[Any], NDArray[Any]]
    ) -> None:
        before, after = arrays
        source = None if target == name else name
        if np.issubdtype(before.dtype, np.integer):
            old, new = before.ravel().tolist(), after.ravel().tolist()
            self.rewrites.append(Rewrite(target, False, old, new))
            return
        for axis, keep in sorted(edit.keep.items()):
            self.cuts.append(TensorCut(target, axis, keep, source))

    def _set_attribute(self, proto: onnx.NodeProto, name: str, value: list[int] | int) -> None:
        (new,) = _exported([], {name: value}).node[0].attribute
        for attribute in proto.attribute:
            if attribute.name == name:
                attribute.CopyFrom(new)
                return
        proto.attribute.append(new)

    def _read(self, dead: set[int]) -> set[str]:
        """The tensors that some node reads, without the ``dead`` ones, or that are outputs."""
        read = set(self._graph.outputs)
        for op in self._graph.ops:
            if op.index not in dead:
                read.update(self._nodes[op.index].input)
                read |= captured(op)
        return read - {""}


def _tensor(name: str, array: NDArray[Any]) -> onnx.TensorProto:
    import onnx_graphsurgeon as gs

    tensor: onnx.TensorProto = _exported([gs.Constant("made", array)], {}).initializer[0]
    tensor.name = name  # which the value of a Constant node may lack
    return tensor


def _exported(constants: list[Any], attributes: dict[str, Any]) -> onnx.GraphProto:
    """A graph of one node that reads ``constants``, with these attributes."""
    import onnx_graphsurgeon as gs

    out = gs.Variable("out", np.float32)
    node = gs.Node("Made", inputs=constants, outputs=[out], attrs=attributes)
    model: onnx.ModelProto = gs.export_onnx(gs.Graph([node], outputs=[out]), do_type_check=False)
    return model.graph


def _set_constant(node: onnx.NodeProto, array: NDArray[Any]) -> None:
    for attribute in node.attribute:
        if attribute.name == "value":
            attribute.t.CopyFrom(_tensor(attribute.t.name, array))
        elif attribute.name == "value_ints":
            attribute.ints[:] = array.tolist()
        elif attribute.name == "value_floats":
            attribute.floats[:] = array.tolist()
        elif attribute.name == "value_int":
            attribute.i = int(array)
