"""Layers in bodies that the analysis does not follow: those of most Loops and Scans.

Those that run a fixed number of times are written out (`loops.py`), and branches of If stand beside
it (`hoist.py`), unless it is in such a body itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import CONVOLUTIONS, GATES, LOOPS, MATRIX_PRODUCTS
from reprune_onnx.bodies import bodies

MOST = 4096
"""Nodes that a loop is written out in; more rounds than that make a file that no one reads."""


def layers_in_bodies(graph: Graph) -> Counter[tuple[str, str]]:
    """The number of nodes of each layer op in bodies of each op: ``{(op, outer op): n}``.

    A Gemm or MatMul counts where its matrix is a constant of the body, or of the graph around it.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for op in graph.ops:
        for kind, n in layers_in(graph, op).items():
            counts[kind, op.type] += n
    return counts


def layers_in(graph: Graph, op: Op) -> Counter[str]:
    """The number of nodes of each layer op in bodies of one node."""
    return Counter(
        node.op_type
        for body in bodies(op.proto)
        for node, constants in _nodes(body, frozenset())
        if node.op_type in (*CONVOLUTIONS, *GATES)
        or (
            node.op_type in MATRIX_PRODUCTS
            and (node.input[1] in constants or graph.is_constant(node.input[1]))
        )
    )


def said(inside: Counter[tuple[str, str]]) -> str:
    """The number of layers in bodies, in words: "12 Conv nodes stand in bodies of If, …"."""
    parts = [
        f"{n} {op} node{'s' * (n != 1)} stand{'s' * (n == 1)} in"
        f" {'bodies' if n != 1 else 'a body'} of {outer}"
        for (op, outer), n in sorted(inside.items())
    ]
    which = "are" if sum(inside.values()) != 1 else "is"
    text = f"{', '.join(parts)}, which {which} not looked into"
    if LOOPS.isdisjoint(outer for _, outer in inside):
        return text
    return (
        f"{text} (loops are followed where they stand in the main graph and run a fixed number of"
        f" times, in at most {MOST:,} nodes: export the model with fixed sizes)"
    )


def _nodes(
    graph: onnx.GraphProto, outer: frozenset[str]
) -> Iterator[tuple[onnx.NodeProto, frozenset[str]]]:
    """Every node of a body and of the bodies in it, with the names of constants it may read."""
    constants = outer | {t.name for t in graph.initializer}
    constants |= {o for n in graph.node if n.op_type == "Constant" for o in n.output}
    for node in graph.node:
        yield node, constants
        for body in bodies(node):
            yield from _nodes(body, constants)
