"""Branches of If put back where `hoist` took them from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import onnx

from reprune_onnx.analyzer.hoist import branches_of, joined, prefix_of, renamed

_GONE = "\0"  # where what a decided If does not run stands


def folded(source: onnx.ModelProto, decided: Mapping[str, bool] | None = None) -> onnx.ModelProto:
    """The model whose branches, which `hoisted` wrote beside their If, are its bodies again.

    They have their own names again; what was added to the main graph since stays there. An If whose
    condition is ``decided`` is replaced by the branch that it takes, under the names that this has
    in ``source``, and its other branch is left out.
    """
    places = Places(source, decided or {})
    if not places.prefixes:
        return source
    proto = onnx.ModelProto()
    proto.CopyFrom(source)
    for parts in (proto.graph.node, proto.graph.initializer, proto.graph.sparse_initializer):
        del parts[:]
    del proto.graph.value_info[:]
    _Folding(source.graph, places).fill(proto.graph, "")
    return proto


class Places:
    """In which branch each tensor of a model with hoisted branches stands.

    ``prefixes`` are those of all branches, each with the branch that its tensors stand in once
    conditions are ``decided``; "" is the main graph.
    """

    def __init__(self, proto: onnx.ModelProto, decided: Mapping[str, bool]) -> None:
        self.decided = decided
        self.prefixes: dict[str, str] = {}
        self._inputs = {i.name for i in proto.graph.input}
        for node in reversed(proto.graph.node):  # an If stands behind all that is in its branches
            for branch in branches_of(node) if joined(node) else ():
                prefix = prefix_of(node, branch)
                place, takes = self._around(prefix), decided.get(node.input[0])
                if takes is None:
                    place = place if place == _GONE else prefix
                elif takes != (branch == "then_branch"):
                    place = _GONE
                self.prefixes[prefix] = place

    def of(self, name: str) -> str | None:
        """The prefix of the branch that a tensor stands in; None where it is in no graph at all."""
        place = "" if name in self._inputs else self._around(name)
        return None if place == _GONE else place

    def _around(self, name: str) -> str:
        end = len(name) - 1
        while (end := name.rfind("/", 0, end)) >= 0:
            place = self.prefixes.get(name[: end + 1])
            if place is not None:
                return place
        return ""


class _Folding:
    """The parts of a graph by the branch that they go to, and their names there."""

    def __init__(self, source: onnx.GraphProto, places: Places) -> None:
        self._places = places
        self._nodes = defaultdict[str | None, list[onnx.NodeProto]](list)
        self._values = defaultdict[str | None, list[onnx.ValueInfoProto]](list)
        self._constants = defaultdict[str | None, list[onnx.TensorProto]](list)
        self._sparse = defaultdict[str | None, list[onnx.SparseTensorProto]](list)
        for node in source.node:
            self._nodes[places.of(next((o for o in node.output if o), ""))].append(node)
        for value in source.value_info:
            self._values[places.of(value.name)].append(value)
        for tensor in source.initializer:
            self._constants[places.of(tensor.name)].append(tensor)
        for sparse in source.sparse_initializer:
            self._sparse[places.of(sparse.values.name)].append(sparse)
        made = [name for node in source.node for name in node.output if name]
        made += [t.name for t in source.initializer]
        made += [t.values.name for t in source.sparse_initializer]
        self._names = {name: name.removeprefix(places.of(name) or "") for name in made}

    def fill(self, graph: onnx.GraphProto, place: str) -> None:
        """Put into ``graph`` what stands in the branch ``place``."""
        outputs = {place + output.name: output for output in graph.output} if place else {}
        for node in self._nodes[place]:
            graph.node.extend(self._node(node))
        for value in self._values[place]:
            if value.name in outputs:
                outputs[value.name].type.CopyFrom(value.type)
            else:
                graph.value_info.add().CopyFrom(value)
                graph.value_info[-1].name = value.name.removeprefix(place)
        for tensor in self._constants[place]:
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = self._names[tensor.name]
        for sparse in self._sparse[place]:
            graph.sparse_initializer.add().CopyFrom(sparse)
            graph.sparse_initializer[-1].values.name = self._names[sparse.values.name]

    def _node(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        made = joined(node)
        takes = self._places.decided.get(node.input[0]) if made else None
        if takes is not None:
            passed = [
                (out, both[0 if takes else 1]) for out, both in zip(node.output, made, strict=True)
            ]
            passing = [onnx.helper.make_node("Identity", [z], [y]) for y, z in passed if y]
            return [renamed(each, self._names) for each in passing]
        copy = renamed(node, self._names)
        if made:
            for (branch, body), original in zip(
                branches_of(copy).items(), branches_of(node).values(), strict=True
            ):
                del body.node[:], body.output[:]
                body.output.extend(original.output)
                self.fill(body, prefix_of(node, branch))
        return [copy]
