"""Scores of attention: products q·kᵀ of two activations, which no weight of their own has.

s_ij = Σ_c q_ic·k_jc is summed over the channels c, which go from both. Without those of R, and with
what is left of q refitted to the keys S that stay, what is lost over all pairs of positions is

    E|s - ŝ|² = tr(G_q·(G_RR - G_RS·G_SS⁻¹·G_SR))        G_q = E[q·qᵀ],  G = G_k = E[k·kᵀ]

the loss of a layer whose input are keys and whose weights W have WᵀW = G_q. Where a Softmax over
the keys reads the scores, what all keys have in common changes nothing: their mean is taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import ARITHMETIC, SAME_NUMBERS
from reprune_onnx.analyzer.rules.linear import einsum_terms
from reprune_onnx.analyzer.rules.products import Terms, matmul_terms
from reprune_onnx.types import ChannelMap, Floats, Ints

Array = NDArray[Any]


@dataclass(frozen=True)
class Operand:
    """One factor of scores; ``order`` brings its axes into (images, heads …, positions …, c)."""

    tensor: str
    order: tuple[int, ...]
    heads: int

    def rows(self, array: Array) -> Array:
        """The values (images, heads, positions, channels) of the tensor."""
        turned = array.transpose(self.order)
        h = 1 + self.heads
        images, heads = turned.shape[:1], turned.shape[1:h]
        return np.asarray(turned.reshape(*images, prod(heads), -1, turned.shape[-1]))


@dataclass(frozen=True)
class Scores:
    """Node ``node`` sums over the channels ``units (d,)`` of ``queries`` and of ``keys``.

    ``level`` says that what all keys of an image have in common does not matter.
    """

    node: int
    queries: Operand
    keys: Operand
    units: Ints
    level: bool

    @property
    def tensors(self) -> list[str]:
        """The tensors of both."""
        return [self.queries.tensor, self.keys.tensor]

    @property
    def axis(self) -> int:
        """The axis of the queries along which channels lie."""
        return self.queries.order[-1]


@dataclass(frozen=True)
class ScoreMoments:
    """Second moments ``queries`` and ``keys`` (heads, d, d), and their number of ``samples``."""

    queries: Floats
    keys: Floats
    samples: int

    @property
    def variance(self) -> float:
        """The mean square of a score, summed over the heads."""
        return float(np.einsum("hde,hed->", self.queries, self.keys))


def scores_of(graph: Graph, channels: ChannelMap) -> list[Scores]:
    """Return the products of activations that sum over channels which may go, in graph order."""
    summed = {(s.node, s.input): s for s in channels.summed}
    found = []
    for node in sorted({s.node for s in channels.summed}):
        op, both = graph.ops[node], [summed.get((node, i)) for i in (0, 1)]
        shapes = [
            channels.tensors[name].shape for name in op.inputs[:2] if name in channels.tensors
        ]
        terms = _terms(op, [len(shape) for shape in shapes])
        if terms is None or both[0] is None or both[1] is None or len(terms[0]) < 3:
            continue
        left, right, out = terms
        images, *heads = [x for x in left if x in right and x in out]
        (c,) = [x for x in left if x in right and x not in out]
        operands = [_operand(op.inputs[i], terms[i], images, heads, c) for i in (0, 1)]
        extents = [[shapes[i][terms[i].index(x)] for x in heads] for i in (0, 1)]
        if extents[0] != extents[1] or None in extents[0]:
            continue
        keys = [k for k, x in enumerate(out) if x not in left]
        level = _level(graph, op.outputs[0], keys, len(out))
        found.append(Scores(node, operands[0], operands[1], both[0].ids, level))
    return found


def score_moments(scores: Scores, batches: Iterable[tuple[Array, Array]]) -> ScoreMoments:
    """Return the moments of queries and keys, given as tensors of each batch."""
    factors = (scores.queries, scores.keys)
    moments = [np.zeros(()), np.zeros(())]
    n = [0, 0]
    for arrays in batches:
        for k, (operand, array) in enumerate(zip(factors, arrays, strict=True)):
            rows = operand.rows(array).astype(np.float64)
            if k and scores.level:
                rows -= rows.mean(axis=2, keepdims=True)
            n[k] += rows.shape[0] * rows.shape[2]
            moments[k] = moments[k] + np.einsum("nhrd,nhre->hde", rows, rows, optimize=True)
    queries, keys = (m / max(1, count) for m, count in zip(moments, n, strict=True))
    return ScoreMoments(queries, keys, min(n))


def _terms(op: Op, ranks: Sequence[int]) -> Terms | None:
    """The axes of the operands and of the result, if one is summed over and one is of images."""
    if op.domain or len(ranks) != 2:
        return None
    terms = matmul_terms(*ranks) if op.type == "MatMul" else None
    if op.type == "Einsum":
        terms = einsum_terms(op)
    if terms is None:
        return None
    left, right, out = terms
    summed = [x for x in left if x in right and x not in out]
    first = left[:1] == right[:1] == out[:1]
    apart = set(left) ^ set(right) <= set(out)
    return terms if len(summed) == 1 and first and apart else None


def _operand(name: str, term: str, images: str, heads: Sequence[str], c: str) -> Operand:
    positions = [x for x in term if x not in (images, *heads, c)]
    order = tuple(term.index(x) for x in (images, *heads, *positions, c))
    return Operand(name, order, len(heads))


def _level(graph: Graph, name: str, keys: Sequence[int], rank: int) -> bool:
    """Whether a Softmax over the axis ``keys`` reads scores that were only scaled and shifted."""
    while True:
        readers = graph.readers(name)
        if len(readers) != 1 or name in graph.outputs:
            return False
        (op,) = readers
        if op.type == "Softmax":
            axis = int(op.attrs.get("axis", -1 if op.opset >= 13 else 1))
            return [axis % rank] == keys
        shifts = op.type in ARITHMETIC and not (op.type == "Div" and op.inputs[0] != name)
        scalar = op.type in ("Add", "Sub") or all(
            graph.is_constant(i) and graph.array(i).size == 1 for i in op.inputs if i != name
        )
        if op.domain or not (op.type in SAME_NUMBERS or (shifts and scalar)):
            return False
        name = op.outputs[0]
