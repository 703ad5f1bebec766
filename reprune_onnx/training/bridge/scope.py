"""A graph and the bodies of its Ifs, each with its constants sorted for training.

A body reads tensors of the graph around it by name. Those that are constants there are constants of
the body, too, so that its ops find their sizes and axes; a weight among them is trained where it
stands, in the outer graph, and handed in anew in every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import FLOATS, Graph, Op, captured
from reprune_onnx.training.bridge.roots import Roots, find_roots, is_root
from reprune_onnx.types import Model

BRANCHES = ("then_branch", "else_branch")


@dataclass(frozen=True)
class GraphScope:
    """One graph: ``bodies`` are those of its Ifs, by the node's index, then as `BRANCHES`.

    ``prefix`` stands before the names of the constants that the body holds itself, which may be
    those of the other branch as well; it is empty for the main graph. ``outer`` are the tensors
    that a body reads from around it.
    """

    graph: Graph
    roots: Roots
    bodies: dict[int, tuple[GraphScope, GraphScope]]
    prefix: str = ""
    outer: frozenset[str] = frozenset()

    def reads(self, op: Op) -> tuple[str, ...]:
        """The tensors that an op reads: its inputs, then those its bodies take from this graph."""
        bodies = self.bodies.get(op.index, ())
        names = sorted({name for body in bodies for name in body.outer})
        return (*op.inputs, *names)

    def all(self) -> Iterator[GraphScope]:
        """This graph and all bodies within."""
        yield self
        for both in self.bodies.values():
            for body in both:
                yield from body.all()


def scope_of(graph: Graph, prefix: str = "", outer: frozenset[str] = frozenset()) -> GraphScope:
    """Sort the constants of ``graph`` and of the bodies in it."""
    bodies = {
        op.index: (_body(graph, op, BRANCHES[0], prefix), _body(graph, op, BRANCHES[1], prefix))
        for op in graph.ops
        if op.type == "If" and not op.domain
    }
    graph_roots = find_roots(graph)
    wanted = {
        name
        for both in bodies.values()
        for body in both
        for name in body.roots.trained & body.outer
        if is_root(graph, name) and graph.element_type(name) in FLOATS
    }
    trained = (graph_roots.trained | wanted) - graph_roots.running
    roots = replace(graph_roots, trained=frozenset(trained))
    told = {
        index: (_agreed(both[0], roots.trained), _agreed(both[1], roots.trained))
        for index, both in bodies.items()
    }
    return GraphScope(graph, roots, told, prefix, outer)


def _agreed(body: GraphScope, trained: frozenset[str]) -> GraphScope:
    """The body with the outer graph's word on what of its own is trained."""
    agreed = (body.roots.trained - body.outer) | (trained & body.outer)
    bodies = {
        index: (_agreed(both[0], agreed), _agreed(both[1], agreed))
        for index, both in body.bodies.items()
    }
    return replace(body, roots=replace(body.roots, trained=frozenset(agreed)), bodies=bodies)


def _body(graph: Graph, op: Op, branch: str, prefix: str) -> GraphScope:
    source: onnx.GraphProto = op.attrs[branch]
    proto = onnx.ModelProto()
    proto.ir_version = graph.proto.ir_version
    proto.opset_import.extend(graph.proto.opset_import)
    proto.graph.CopyFrom(source)
    alone = replace(op, attrs={branch: source})
    outer = frozenset(captured(alone))
    for name in sorted(outer):
        if graph.is_constant(name):
            proto.graph.initializer.append(onnx.numpy_helper.from_array(graph.array(name), name))
        else:
            proto.graph.input.append(onnx.ValueInfoProto(name=name))
    inner = Graph(Model(proto))
    return scope_of(inner, f"{prefix}{op.result}.{branch}.", outer)


def has_branches(model: Model) -> bool:
    """Whether a step may leave parameters without a gradient, as those of the branch not taken."""
    return any(node.op_type == "If" for node in written_out(model).proto.graph.node)
