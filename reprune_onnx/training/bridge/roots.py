"""The constants of a graph: those that are trained, that follow the batches, and that stay.

A *root* is a tensor that the file holds: an initializer, or what a Constant node makes. What the
graph computes from roots (a transposed or standardised weight) is computed again in every step,
where a trained root is among them, so that gradients reach the values that the file holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from reprune_onnx.analyzer.graph import FLOATS, Graph, Op
from reprune_onnx.analyzer.op_kinds import ARITHMETIC, PRODUCTS

_ROLES: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "Einsum": (0, 1, 2, 3),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "RMSNormalization": (1,),
    "PRelu": (1,),
    "LSTM": (1, 2, 3, 7),
    "GRU": (1, 2, 3),
    "RNN": (1, 2, 3),
    "SimplifiedLayerNormalization": (1,),
    "com.microsoft::Attention": (1, 2),
    "com.microsoft::BiasGelu": (1,),
    "com.microsoft::FastGelu": (1,),
    "com.microsoft::FusedConv": (1, 2),
    "com.microsoft::FusedGemm": (0, 1, 2),
    "com.microsoft::FusedMatMul": (0, 1),
    "com.microsoft::MultiHeadAttention": (3,),
    "com.microsoft::SkipLayerNormalization": (2, 3, 4),
    "com.microsoft::SkipSimplifiedLayerNormalization": (2, 3),
    "com.microsoft::TransposeMatMul": (0, 1),
}
_STATISTICS = (3, 4)  # of BatchNormalization


@dataclass(frozen=True)
class Roots:
    """``trained`` roots get gradients, ``running`` ones are statistics that follow the batches.

    ``live`` are the nodes that compute constants from trained roots.
    """

    trained: frozenset[str]
    running: frozenset[str]
    live: frozenset[int]


def find_roots(graph: Graph) -> Roots:
    """Sort the floating-point constants of ``graph``.

    Trained are weights and biases of layers, scale and bias of normalisations, slopes of PRelu; and
    what an Add, Sub, Mul or Div puts on a layer's output at once, if it varies along one axis only:
    a bias or scale that an exporter wrote as a node of its own. Means and deviations in front of
    the first layer, grids, anchors and single numbers stay.
    """
    read = [name for op in graph.ops for name in _weights(graph, op)]
    trained = {root for name in read for root in trainable_roots(graph, name)}
    running = {
        op.inputs[i]
        for op in graph.ops
        if op.type == "BatchNormalization"
        for i in _STATISTICS
        if op.has(i) and is_root(graph, op.inputs[i])
    }
    live = {
        index
        for name in read
        if not is_root(graph, name) and trainable_roots(graph, name)
        for index in _makers(graph, name)
    }
    return Roots(frozenset(trained - running), frozenset(running), frozenset(live))


def is_root(graph: Graph, name: str) -> bool:
    """Whether the file holds the values of constant ``name`` itself."""
    if not graph.is_constant(name):
        return False
    return name not in graph.derived or graph.ops[graph.derived[name]].type == "Constant"


def _weights(graph: Graph, op: Op) -> list[str]:
    """The constants that training should change through ``op``."""
    if op.outputs and op.outputs[0] in graph.derived:
        return []
    places = _ROLES.get(op.key, ())
    if op.type in ARITHMETIC:
        places = (0, 1) if any(_linear(graph, name) for name in op.inputs) else ()
        places = tuple(i for i in places if _vector(graph, op.inputs[i]))
    return [op.inputs[i] for i in places if op.has(i) and graph.is_constant(op.inputs[i])]


def _linear(graph: Graph, name: str) -> bool:
    """Whether ``name`` is a layer's output, or that scaled and shifted by constants."""
    op = graph.producer(name)
    while op is not None and op.type in ARITHMETIC:
        data = [i for i in op.inputs if not graph.is_constant(i)]
        op = graph.producer(data[0]) if len(data) == 1 else None
    return op is not None and op.type in PRODUCTS and op.outputs[0] not in graph.derived


def _vector(graph: Graph, name: str) -> bool:
    return graph.is_constant(name) and sum(n > 1 for n in graph.shape(name)) == 1


def trainable_roots(graph: Graph, name: str) -> list[str]:
    """The roots behind ``name``, a constant weight; single numbers it is computed with stay."""
    if is_root(graph, name):
        return [name] if graph.element_type(name) in FLOATS else []
    inputs = {i for index in _makers(graph, name) for i in graph.ops[index].inputs if i}
    return [
        root
        for root in sorted(inputs)
        if is_root(graph, root)
        and graph.element_type(root) in FLOATS
        and prod(graph.shape(root)) > 1
    ]


def _makers(graph: Graph, name: str) -> set[int]:
    """The nodes, other than Constants, that compute the constant ``name``."""
    makers: set[int] = set()
    stack = [name]
    while stack:
        current = stack.pop()
        if is_root(graph, current) or graph.derived[current] in makers:
            continue
        makers.add(graph.derived[current])
        stack.extend(i for i in graph.ops[graph.derived[current]].inputs if i)
    return makers
