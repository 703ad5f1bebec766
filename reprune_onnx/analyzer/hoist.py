"""Branches of If written beside it: what they hold stands in the main graph, as any other node.

The names of a branch's tensors then begin with the branch's own: ``y.then_branch/`` where ``y`` is
the first output of the If. The If stays, with bodies that only pass on what was made before it, so
that the model computes what it did, though both branches run. `fold.folded` is the way back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import onnx

from reprune_onnx.bodies import bodies
from reprune_onnx.types import Model

BRANCHES = ("then_branch", "else_branch")


def hoisted(model: Model) -> Model:
    """The model with all branches of If in its main graph; itself where there are none.

    What stays as it is: an If within the body of a Loop or Scan, and one with a branch that gives
    back, without any node, a tensor of the graph around it, which ONNX Runtime does not run.
    """
    proto = hoisted_proto(model.proto)
    return model if proto is model.proto else replace(model, proto=proto)


def hoisted_proto(source: onnx.ModelProto) -> onnx.ModelProto:
    """The same of a protobuf."""
    if not any(branches_of(node) and not joined(node) for node in source.graph.node):
        return source
    proto = onnx.ModelProto()
    proto.CopyFrom(source)
    graph = proto.graph
    taken = {v.name for v in (*source.graph.input, *source.graph.initializer)}
    taken |= {name for node in source.graph.node for name in node.output}
    nodes = [node for original in source.graph.node for node in _opened(original, graph, taken)]
    del graph.node[:]
    graph.node.extend(nodes)
    return proto


def branches_of(node: onnx.NodeProto) -> dict[str, onnx.GraphProto]:
    """Both branches of an If by their names; nothing of another node."""
    if node.op_type != "If" or node.domain not in ("", "ai.onnx"):
        return {}
    given = {a.name: a.g for a in node.attribute if a.HasField("g")}
    return {name: given[name] for name in BRANCHES} if given.keys() >= {*BRANCHES} else {}


def prefix_of(node: onnx.NodeProto, branch: str) -> str:
    """The prefix of the names of all tensors of a branch, once they stand beside the If."""
    return f"{next((name for name in node.output if name), '')}.{branch}/"


def joined(node: onnx.NodeProto) -> list[tuple[str, str]]:
    """For each output of an If whose branches stand beside it, what either branch makes of it.

    Nothing of any other node.
    """
    sources: list[list[str]] = []
    for branch, body in branches_of(node).items():
        prefix = prefix_of(node, branch)
        passed = {n.output[0]: n.input[0] for n in body.node if n.op_type == "Identity"}
        made = [passed.get(output.name, "") for output in body.output]
        if not made or made != [prefix + output.name for output in body.output]:
            return []
        sources.append(made)
    return list(zip(*sources, strict=True)) if len({len(made) for made in sources}) == 1 else []


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """A copy of a node that reads and makes other tensors, in its bodies too.

    A body's own tensors keep their names, whatever a tensor around it is called.
    """
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    _rename(copy, names)
    return copy


def own_names(graph: onnx.GraphProto) -> set[str]:
    """The tensors that a body holds or makes itself."""
    given = {v.name for v in (*graph.input, *graph.initializer)}
    given |= {t.values.name for t in graph.sparse_initializer}
    return given | {name for node in graph.node for name in node.output if name}


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    for places in (node.input, node.output):
        for k, name in enumerate(places):
            if name in names:
                places[k] = names[name]
    for body in bodies(node):
        defined = own_names(body)
        outer = {a: b for a, b in names.items() if a not in defined} if defined else names
        for inner in body.node:
            _rename(inner, outer)
        for output in body.output:
            output.name = outer.get(output.name, output.name)


def _opened(
    node: onnx.NodeProto, graph: onnx.GraphProto, taken: set[str]
) -> Iterator[onnx.NodeProto]:
    """The nodes that stand in place of ``node``; constants of its branches go into ``graph``."""
    branches = branches_of(node)
    if not branches or joined(node) or not _opens(node, branches, taken):
        yield node
        return
    stub = onnx.NodeProto()
    stub.CopyFrom(node)
    for branch, body in branches_of(stub).items():
        names = {name: prefix_of(node, branch) + name for name in own_names(body)}
        for tensor in body.initializer:
            tensor.name = names[tensor.name]
        for sparse in body.sparse_initializer:
            sparse.values.name = names[sparse.values.name]
        graph.initializer.extend(body.initializer)
        graph.sparse_initializer.extend(body.sparse_initializer)
        for value in (*body.value_info, *body.output):
            graph.value_info.add().CopyFrom(value)
            graph.value_info[-1].name = names.get(value.name, value.name)
        for inner in body.node:
            yield from _opened(renamed(inner, names), graph, taken)
        for cleared in (body.node, body.initializer, body.sparse_initializer, body.value_info):
            del cleared[:]
        for output in body.output:
            source = names[output.name]
            body.node.append(onnx.helper.make_node("Identity", [source], [output.name]))
            if output.type.HasField("tensor_type"):  # a cut may change it
                output.type.tensor_type.ClearField("shape")
    yield stub


def _opens(node: onnx.NodeProto, branches: Mapping[str, onnx.GraphProto], taken: set[str]) -> bool:
    """Whether the branches can stand beside an If, and be put back."""
    for branch, body in branches.items():
        prefix, names = prefix_of(node, branch), [output.name for output in body.output]
        complete = len(names) == len(node.output) == len({*names}) and own_names(body).issuperset(
            names
        )
        if body.input or not complete or any(name.startswith(prefix) for name in taken):
            return False
    return True
