"""Operators at a model's end that ONNX Runtime lacks: the model is cut off before them.

A TensorRT plugin such as EfficientNMS_TRT stands behind the last layer, and nothing behind it can
lose a channel. So everything that runs a model runs its *head*, whose outputs are the tensors that
enter the *tail*; in the file that is written, the tail stands behind the head again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.op_kinds import LINEAR
from reprune_onnx.bodies import with_bodies
from reprune_onnx.errors import KernelError, ModelError
from reprune_onnx.inferred import inferred
from reprune_onnx.model import size
from reprune_onnx.note import Note
from reprune_onnx.order import in_order, read_by
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import ChannelMap, Model

_LAYERS = LINEAR | {"DeformConv", "FusedConv", "FusedGemm", "FusedMatMul"}
_SHOWN = 3  # nodes that a sentence names
_OLDEST = 1  # the version of a domain that a file uses without stating one


@dataclass(frozen=True)
class Tail:
    """The part of a model that stands behind its ``head``, and is not run.

    ``model`` is the whole model with its nodes in order, ``nodes`` are the places of the tail's
    nodes in it, ``unknown`` the places of those that ONNX Runtime lacks. ``entering`` are the
    tensors of the head that the tail reads, each with the place of a node that reads it.
    """

    model: Model
    head: Model
    nodes: frozenset[int]
    unknown: tuple[int, ...]
    entering: dict[str, int]

    @property
    def note(self) -> Note:
        """A sentence for the user on the part that is run and the part that is not."""
        named = _named(self.model.proto.graph.node[k] for k in self.unknown)
        tensors = ", ".join(f"'{name}'" for name in self.entering)
        run = f"up to {tensors}" if tensors else "without what needs it"
        n = len(self.nodes)
        rest = "1 node behind stays as it is" if n == 1 else f"{n} nodes behind stay as they are"
        return Note(f"ONNX Runtime lacks {named}: the model is run {run}, and {rest}")

    def put_back(self, head: Model) -> Model:
        """Return ``head``, changed or not, with the tail behind it and the file's own outputs.

        Constants that both read are the tail's own where the head's were changed.
        """
        proto, original = onnx.ModelProto(), self.model.proto
        proto.CopyFrom(head.proto)
        _check_versions(original, proto, [original.graph.node[k] for k in sorted(self.nodes)])
        nodes = [_copy(original.graph.node[k]) for k in sorted(self.nodes)]
        names = _own_constants(proto, original, nodes)
        for node in nodes:
            for i, name in enumerate(node.input):
                node.input[i] = names.get(name, name)
        proto.graph.node.extend(nodes)
        head_inputs = {value.name: value for value in proto.graph.input}
        inputs = [head_inputs.get(value.name, value) for value in original.graph.input]
        _replace(proto.graph.input, inputs)
        ends = {value.name: value for value in head.proto.graph.output}
        outputs = [ends.get(value.name, value) for value in original.graph.output]
        _replace(proto.graph.output, outputs)
        made = {name for node in nodes for name in node.output}
        proto.graph.value_info.extend(v for v in original.graph.value_info if v.name in made)
        stated = {o.domain for o in proto.opset_import}
        proto.opset_import.extend(o for o in original.opset_import if o.domain not in stated)
        return replace(head, proto=proto, bytes=size(proto))

    def explained(self, channels: ChannelMap) -> ChannelMap:
        """Return the head's channels, those that enter the tail locked for that reason."""
        ends = {o.name for o in self.model.proto.graph.output}
        reasons = {
            f"output '{name}'": self._lock(k)
            for name, k in self.entering.items()
            if name not in ends
        }
        locks = [
            replace(lock, node=reasons[lock.node][0], reason=reasons[lock.node][1], kind="node")
            if lock.node in reasons
            else lock
            for lock in channels.locks
        ]
        return replace(channels, locks=tuple(locks))

    def _lock(self, k: int) -> tuple[str, str]:
        """The node that reads an entering tensor, and why the tensor's channels stay."""
        node = self.model.proto.graph.node[k]
        if k in self.unknown:
            return node.name, f"{_title(node)} reads them, which ONNX Runtime lacks"
        behind = self.model.proto.graph.node[self.unknown[0]]
        return node.name, f"{_title(node)} reads them, behind {_title(behind)}"


def find_tail(model: Model) -> Tail | None:
    """Return where a model ends for ONNX Runtime.

    None where it has all operators, and where nothing stands before one that it lacks.

    Raises KernelError, naming node and layer, where one that it lacks stands before layers.
    """
    asked = _candidates(model)
    if not asked:
        return None
    model = written_out(model) if _in_functions(model.proto) else in_order(model)
    nodes = model.proto.graph.node
    unknown = tuple(sorted(_lacking(model.proto)))
    if not unknown:
        return None
    behind = _behind(nodes, unknown)
    _refuse_layers(model.proto, unknown, behind)
    within = behind | _serving(model.proto, behind)
    made = {name for k, node in enumerate(nodes) if k not in within for name in node.output}
    entering: dict[str, int] = {}
    for k in sorted(within):
        for name in read_by(nodes[k]):
            if name in made:
                entering.setdefault(name, k)
    gone = {name for k in within for name in nodes[k].output}
    if not entering and all(o.name in gone for o in model.proto.graph.output):
        return None
    return Tail(model, _head(model, within, list(entering)), frozenset(within), unknown, entering)


def head_of(model: Model) -> Model:
    """Return what of a model ONNX Runtime can run: all of it, or its head."""
    tail = find_tail(model)
    return model if tail is None else tail.head


def is_lacking(node: onnx.NodeProto, proto: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime has no operator for a ``node`` of ``proto``."""
    return _is_foreign(node) and not _is_known(proto, node, inferred(proto).types)


def _head(model: Model, within: set[int], entering: list[str]) -> Model:
    original = model.proto
    proto = onnx.ModelProto()
    proto.CopyFrom(original)
    kept = [_copy(node) for k, node in enumerate(original.graph.node) if k not in within]
    _replace(proto.graph.node, kept)
    read = {name for node in kept for name in read_by(node)}
    tail_reads = {name for k in within for name in read_by(original.graph.node[k])}
    fed = [i for i in proto.graph.input if i.name in read or i.name not in tail_reads]
    _replace(proto.graph.input, fed)
    gone = {name for k in within for name in original.graph.node[k].output}
    ends = [o for o in original.graph.output if o.name not in gone]
    names = {o.name for o in ends}
    ends += _declared(original, [name for name in entering if name not in names])
    _replace(proto.graph.output, ends)
    _replace(proto.graph.value_info, [v for v in proto.graph.value_info if v.name not in gone])
    used = {node.domain for node in kept}
    _replace(
        proto.opset_import, [o for o in original.opset_import if not o.domain or o.domain in used]
    )
    return replace(model, proto=proto)


def _declared(proto: onnx.ModelProto, names: list[str]) -> list[onnx.ValueInfoProto]:
    """Outputs of the types that the file or ONNX's inference states, and floats where none does."""
    tensors = inferred(proto)
    return [
        onnx.helper.make_tensor_value_info(
            name, tensors.types.get(name, onnx.TensorProto.FLOAT), tensors.shapes.get(name)
        )
        for name in names
    ]


def _candidates(model: Model) -> bool:
    """Whether some node, in a body or a function too, is of an op that ONNX does not have."""
    functions = {(f.domain, f.name) for f in model.proto.functions}
    parts = [model.proto.graph.node, *(f.node for f in model.proto.functions)]
    return any(
        _is_foreign(node) and (node.domain, node.op_type) not in functions
        for nodes in parts
        for node in with_bodies(nodes)
    )


def _in_functions(proto: onnx.ModelProto) -> bool:
    return any(_is_foreign(node) for f in proto.functions for node in with_bodies(f.node))


def _is_foreign(node: onnx.NodeProto) -> bool:
    """Whether ONNX has no op of this name in any version."""
    return not onnx.defs.has(node.op_type, "" if node.domain == "ai.onnx" else node.domain)


def _lacking(proto: onnx.ModelProto) -> Iterator[int]:
    """The places of the nodes that ONNX Runtime has no operator for, themselves or in a body."""
    types = inferred(proto).types
    functions = {(f.domain, f.name) for f in proto.functions}
    kinds: dict[tuple[str, str], bool] = {}
    for k, node in enumerate(proto.graph.node):
        for part in with_bodies([node]):
            kind = (part.domain, part.op_type)
            if not _is_foreign(part) or kind in functions:
                continue
            if kind not in kinds:
                kinds[kind] = _is_known(proto, part, types)
            if not kinds[kind]:
                yield k
                break


def _is_known(proto: onnx.ModelProto, node: onnx.NodeProto, types: Mapping[str, int]) -> bool:
    """Whether ONNX Runtime has an operator for a node: it is asked to load that node alone."""
    wide = (onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)
    graph = onnx.GraphProto(name="one node")
    graph.node.append(_copy(node))
    for name in dict.fromkeys(name for name in node.input if name):
        kind = types.get(name, onnx.TensorProto.FLOAT)
        kind = onnx.TensorProto.FLOAT if kind in wide else kind
        graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    alone = onnx.ModelProto(ir_version=proto.ir_version, graph=graph)
    alone.opset_import.extend(proto.opset_import)
    if node.domain not in {o.domain for o in proto.opset_import}:
        alone.opset_import.append(onnx.helper.make_opsetid(node.domain, _OLDEST))
    try:
        Session(alone, optimize=False)
    except KernelError:
        return False
    except ModelError:  # an attribute that it lacks, say, or a type that was a guess
        return any(name not in types for name in node.input if name)
    return True


def _behind(nodes: Iterable[onnx.NodeProto], unknown: tuple[int, ...]) -> set[int]:
    """``unknown``, and all nodes that depend on them, of nodes in order."""
    behind, reached = set[int](), set[str]()
    for k, node in enumerate(nodes):
        if k in unknown or reached.intersection(read_by(node)):
            behind.add(k)
            reached.update(name for name in node.output if name)
    return behind


def _serving(proto: onnx.ModelProto, behind: set[int]) -> set[int]:
    """The nodes that compute from constants what only the tail reads."""
    nodes = proto.graph.node
    outputs = {o.name for o in proto.graph.output}
    constant = {t.name for t in proto.graph.initializer}
    constant |= {t.values.name for t in proto.graph.sparse_initializer}
    fixed = set[int]()
    for k, node in enumerate(nodes):
        if k not in behind and all(name in constant for name in read_by(node)):
            fixed.add(k)
            constant.update(node.output)
    serving = set[int]()
    for k in sorted(fixed, reverse=True):
        made = {name for name in nodes[k].output if name}
        readers = [n for n, node in enumerate(nodes) if made.intersection(read_by(node))]
        if readers and not made & outputs and all(n in behind | serving for n in readers):
            serving.add(k)
    return serving


def _refuse_layers(proto: onnx.ModelProto, unknown: tuple[int, ...], behind: set[int]) -> None:
    nodes = proto.graph.node
    weights = {t.name for t in proto.graph.initializer if len(t.dims) > 1}
    layers = [
        nodes[k]
        for k in sorted(behind.difference(unknown))
        if nodes[k].op_type in _LAYERS and weights.intersection(nodes[k].input)
    ]
    if layers:
        raise KernelError(
            f"ONNX Runtime lacks {_named(nodes[k] for k in unknown)}, and layers stand behind"
            f" ({_named(layers)}): load a library that has it with --custom-ops LIB"
        )


def _check_versions(
    original: onnx.ModelProto, head: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]
) -> None:
    """Raise ModelError where a node of the tail says something else in the head's opset."""
    before, after = (
        next((o.version for o in p.opset_import if o.domain in ("", "ai.onnx")), 1)
        for p in (original, head)
    )
    for node in nodes:
        if before == after or node.domain or _is_foreign(node):
            continue
        old, new = (onnx.defs.get_schema(node.op_type, n).since_version for n in (before, after))
        if old != new:
            raise ModelError(
                f"{_title(node)}, behind what ONNX Runtime lacks, is of opset {before}, and the"
                f" model came to opset {after}: export it in that opset"
            )


def _own_constants(
    proto: onnx.ModelProto, original: onnx.ModelProto, nodes: list[onnx.NodeProto]
) -> dict[str, str]:
    """Add the constants that the tail's ``nodes`` read to ``proto``; new names of changed ones."""
    read = {name for node in nodes for name in read_by(node)}
    have = {t.name: t for t in proto.graph.initializer}
    names: dict[str, str] = {}
    for tensor in original.graph.initializer:
        if tensor.name not in read:
            continue
        if tensor.name not in have:
            proto.graph.initializer.append(tensor)
        elif have[tensor.name] != tensor:
            names[tensor.name] = f"{tensor.name}__tail"
            proto.graph.initializer.append(tensor)
            proto.graph.initializer[-1].name = names[tensor.name]
    return names


def _named(nodes: Iterable[onnx.NodeProto]) -> str:
    titles = [_title(node) for node in nodes]
    more = len(titles) - _SHOWN
    return ", ".join(titles[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _title(node: onnx.NodeProto) -> str:
    kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return f"{kind} '{node.name or next(iter(node.output), '')}'"


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _replace(field: Any, values: Iterable[Any]) -> None:
    kept = []
    for value in values:
        copy = type(value)()
        copy.CopyFrom(value)
        kept.append(copy)
    del field[:]
    field.extend(kept)
