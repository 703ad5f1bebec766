"""Nodes in an order in which each stands behind what it reads.

ONNX asks for that, but runtimes sort for themselves, so files that are not sorted run everywhere:
converters to float16 append the Casts of the inputs at the end of the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import onnx

from reprune_onnx.bodies import bodies
from reprune_onnx.errors import ModelError
from reprune_onnx.types import Model

_SHOWN = 5  # nodes of a cycle that a message names


def in_order(model: Model) -> Model:
    """The model with its nodes sorted, and those of all bodies; itself where they are.

    A node that stands too late moves to just before the first one that needs it; all others keep
    their order. ``moved`` counts them. Raises ModelError for nodes that read each other in a cycle,
    by name.
    """
    if not any(_late(graph) for graph in _graphs(model.proto.graph)):
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    moved = 0
    for graph in _graphs(proto.graph):
        moved += len(_late(graph))
        nodes = list(graph.node)
        order = _sorted(nodes)
        if order != list(range(len(nodes))):
            copies = [_copy(nodes[k]) for k in order]
            del graph.node[:]
            graph.node.extend(copies)
    return replace(model, proto=proto, moved=model.moved + moved)


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, also in its bodies."""
    yield from (name for name in node.input if name)
    for body in bodies(node):
        yield from sorted(outer_tensors(body))


def outer_tensors(graph: onnx.GraphProto) -> set[str]:
    """The tensors that a body reads, or gives back, without making them itself."""
    inner = {i.name for i in graph.input} | {t.name for t in graph.initializer}
    inner |= {t.values.name for t in graph.sparse_initializer}
    read = {o.name for o in graph.output}
    for node in graph.node:
        read.update(read_by(node))
        inner.update(node.output)
    return {name for name in read - inner if name}


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The bodies within a graph, the innermost first, and the graph itself."""
    for node in graph.node:
        for body in bodies(node):
            yield from _graphs(body)
    yield graph


def _late(graph: onnx.GraphProto) -> set[int]:
    """The places of the nodes that make what a node before them, or they themselves, read."""
    late: set[int] = set()
    maker = _makers(graph.node)
    for k, node in enumerate(graph.node):
        late.update(maker[name] for name in read_by(node) if maker.get(name, -1) >= k)
    return late


def _makers(nodes: Iterable[onnx.NodeProto]) -> dict[str, int]:
    """Which node makes a tensor: the first, in a damaged file where two do."""
    makers: dict[str, int] = {}
    for k, node in enumerate(nodes):
        for name in node.output:
            makers.setdefault(name, k)
    return makers


def _sorted(nodes: list[onnx.NodeProto]) -> list[int]:
    """The places of the nodes, each behind those of what it reads."""
    makers = _makers(nodes)
    needs = [[makers[name] for name in read_by(node) if name in makers] for node in nodes]
    order: list[int] = []
    done = [False] * len(nodes)
    above: dict[int, None] = {}  # nodes whose needs are being met, outermost first
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            k = stack[-1]
            waiting = [] if done[k] else [n for n in needs[k] if not done[n]]
            if waiting:
                above[k] = None
                for n in waiting:
                    if n in above:
                        raise ModelError(_cycle([nodes[i] for i in list(above)], nodes[n]))
                stack.append(waiting[0])
                continue
            stack.pop()
            above.pop(k, None)
            if not done[k]:
                done[k] = True
                order.append(k)
    return order


def _cycle(path: list[onnx.NodeProto], first: onnx.NodeProto) -> str:
    cycle = path[next(k for k, node in enumerate(path) if node is first) :]
    titles = [f"{n.op_type} '{n.name or next(iter(n.output), '')}'" for n in cycle]
    if len(titles) > _SHOWN:
        titles = [*titles[: _SHOWN - 1], f"… ({len(titles) - _SHOWN} more)", titles[-1]]
    if len(titles) == 1:
        return f"{titles[0]} reads what it makes itself: the file is damaged"
    return f"the nodes {', '.join(titles)} need each other in a cycle: the file is damaged"


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
