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

from reprune_onnx.activations.low_rank import lost_by_rank
from reprune_onnx.activations.makers import Maker, Network, made_by
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import SAME_NUMBERS
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

    A Softmax over the keys reads the scores times ``scale``, if that is not None: what all keys of
    an image have in common does not matter then.
    """

    node: int
    queries: Operand
    keys: Operand
    units: Ints
    scale: float | None

    @property
    def tensors(self) -> list[str]:
        """The tensors of both."""
        return [self.queries.tensor, self.keys.tensor]

    @property
    def axis(self) -> int:
        """The axis of the queries along which channels lie."""
        return self.queries.order[-1]

    def unit(self, m: ScoreMoments) -> float:
        """The mean square that an error of scores is relative to, summed over the heads.

        It is that of the scores or, before a Softmax, 1 for each head if that is less: a Softmax
        takes differences of scores as they are, however far apart the scores lie.
        """
        most = np.inf if not self.scale else len(m.queries) / self.scale**2
        return min(m.variance, most) or 1.0


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

    def lost_by_rank(self) -> Floats:
        """The losses (d + 1,) with n = 0 … d combinations of channels for each head."""
        heads = zip(self.queries, self.keys, strict=True)
        return np.asarray(sum(lost_by_rank(q, k) for q, k in heads))


def scores_of(graph: Graph, channels: ChannelMap) -> list[Scores]:
    """Return the products of activations that sum over channels which may go, in graph order."""
    summed = {(s.node, s.input): s for s in channels.summed}
    products = []
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
        scale = _scale(graph, op.outputs[0], keys, len(out))
        products.append(Scores(node, operands[0], operands[1], both[0].ids, scale))
    return products


def score_moments(scores: Scores, batches: Iterable[tuple[Array, Array]]) -> ScoreMoments:
    """Return the moments of queries and keys, given as tensors of each batch."""
    factors = (scores.queries, scores.keys)
    moments = [np.zeros(()), np.zeros(())]
    n = [0, 0]
    for arrays in batches:
        for k, (operand, array) in enumerate(zip(factors, arrays, strict=True)):
            rows = operand.rows(array).astype(np.float64)
            if k and scores.scale is not None:
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


def _scale(graph: Graph, name: str, keys: Sequence[int], rank: int) -> float | None:
    """By how much scores are scaled before a Softmax over the axis ``keys``; None without one."""
    scale = 1.0
    while True:
        readers = graph.readers(name)
        if len(readers) != 1 or name in graph.outputs or readers[0].domain:
            return None
        (op,) = readers
        if op.type == "Softmax":
            axis = int(op.attrs.get("axis", -1 if op.opset >= 13 else 1))
            return scale if [axis % rank] == keys else None
        if op.type in ("Mul", "Div"):
            factor = _number(graph, op.inputs[op.inputs[0] == name])
            if not factor or (op.type == "Div" and op.inputs[0] != name):
                return None
            scale = scale * factor if op.type == "Mul" else scale / factor
        elif op.type not in SAME_NUMBERS | {"Add", "Sub"}:
            return None
        name = op.outputs[0]


def _number(graph: Graph, name: str) -> float | None:
    """The one number of a constant."""
    one = graph.is_constant(name) and graph.array(name).size == 1
    return float(graph.array(name).reshape(-1)[0]) if one else None


def score_makers(network: Network, scores: Scores) -> tuple[Maker | None, Maker | None]:
    """Return the layers that make queries and keys, where their channels can be combined.

    Channels that are both at once cannot.
    """
    q, k = (_maker(network, scores, operand) for operand in (scores.queries, scores.keys))
    if q is not None and k is not None and q.node == k.node and np.isin(q.rows, k.rows).any():
        return None, None
    return q, k


def _maker(network: Network, scores: Scores, operand: Operand) -> Maker | None:
    made = made_by(network, operand.tensor, scores.node, mixed=False)
    if made is None:
        return None
    mine = operand.rows(made.rows)
    heads = mine[0, :, 0]
    if (mine != heads[:, None]).any() or len(np.unique(heads)) < heads.size:
        return None
    return Maker(made.node, tuple(heads))
