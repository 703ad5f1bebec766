"""Queries and keys that lost channels: their products are kept, not the channels of either.

Of d channels n are left for queries and keys. The layers that make them are fitted to combinations
P·q and Q·k of what the original makes, so that all scores together change least:

    min E|qᵀk - (P·q)ᵀ(Q·k)|²  =  min ‖A·(I - PᵀQ)·B‖²        A = G_q^½,  B = G_k^½

With the singular values A·B = U·Σ·Vᵀ, of which the n largest are taken,

    P = Σ_n^½·U_nᵀ·A⁻¹        Q = Σ_n^½·V_nᵀ·B⁻¹

Where something nonlinear lies between a layer and the product, as a turn by positions or a
normalisation, its channels stay what they are. If that is so for keys alone, queries are refitted
to the keys S that are left, P = G_SS⁻¹·G_S:, and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.measurable import measured_names
from reprune_onnx.activations.sampling import Look, shares
from reprune_onnx.activations.scores import (
    Operand,
    ScoreMoments,
    Scores,
    score_moments,
    scores_of,
)
from reprune_onnx.activations.store import Store
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import MEASURING, MOVING
from reprune_onnx.recovery.plan import Step
from reprune_onnx.recovery.work import Work
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Floats, Ints

_LEAST = 1e-6  # of the largest eigenvalue: what varies less is nothing


@dataclass(frozen=True)
class _Maker:
    """The step at place ``step``, whose ``rows (heads, d)`` are, moved and scaled, an operand."""

    step: int
    rows: Ints


def with_scores(work: Work) -> list[Step]:
    """Return the steps of ``work``, those that make queries and keys with other targets."""
    steps = list(work.steps)
    names = measured_names(work.original.proto)
    cut = [
        s
        for s in scores_of(work.graph, work.channels)
        if not work.keep[s.units].all() and names.issuperset(s.tensors)
    ]
    if not cut:
        return steps
    makers = [_makers(work, s) for s in cut]
    for (q, k), s, m in zip(makers, cut, _moments(work, cut), strict=True):
        stays = np.flatnonzero(work.keep[s.units])
        for maker, maps in zip((q, k), _maps(m, stays, q is not None, k is not None), strict=True):
            if maker is not None:
                steps[maker.step] = _mixed(work, steps[maker.step], maker.rows, stays, maps)
    return steps


def low_rank(queries: Floats, keys: Floats, n: int) -> tuple[Floats, Floats]:
    """Return P and Q (n, d) of the second moments (d, d); see the module."""
    (A, A_inverse), (B, B_inverse) = _roots(queries), _roots(keys)
    U, sigma, Vt = np.linalg.svd(A @ B)
    root = np.sqrt(sigma[:n])[:, None]
    P: Floats = root * (U.T[:n] @ A_inverse)
    Q: Floats = root * (Vt[:n] @ B_inverse)
    return P, Q


def _roots(G: Floats) -> tuple[Floats, Floats]:
    """G^½ and its inverse, where G is not 0."""
    values, vectors = np.linalg.eigh(G)
    values = np.maximum(values, 0.0)
    some = values > _LEAST * values.max(initial=0.0)
    root = np.sqrt(np.where(some, values, 0.0))
    inverse = np.where(some, 1.0 / np.where(some, root, 1.0), 0.0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T


def _maps(
    m: ScoreMoments, stays: Ints, queries: bool, keys: bool
) -> tuple[Sequence[Floats], Sequence[Floats]]:
    """P and Q (n, d) of every head, where ``queries`` and ``keys`` may be combined."""
    if queries and keys:
        both = [low_rank(a, b, len(stays)) for a, b in zip(m.queries, m.keys, strict=True)]
        return [p for p, _ in both], [q for _, q in both]
    return [_given(G, stays) for G in m.keys], [_given(G, stays) for G in m.queries]


def _given(G: Floats, stays: Ints) -> Floats:
    """G_SS⁻¹·G_S: (n, d)."""
    part = G[np.ix_(stays, stays)]
    ridge = _LEAST * float(np.trace(part)) / len(stays) or 1.0
    return np.asarray(np.linalg.solve(part + ridge * np.eye(len(stays)), G[stays]), np.float64)


def _moments(work: Work, cut: Sequence[Scores]) -> list[ScoreMoments]:
    looks = [Look(s.queries.tensor, s.axis) for s in cut]
    batches = work.images.batches
    counts = [share.batches for share in shares(work.original.proto, batches, looks)]
    room = Store(work.images.room)
    frontier = Frontier(work.original, batches, [s.tensors for s in cut], counts, room)
    moments = []
    for s in cut:
        frontier.advance()
        arrays = (frontier.compute(k) for k in range(frontier.batches))
        q, k = s.tensors
        moments.append(score_moments(s, ((a[q], a[k]) for a in arrays)))
    return moments


def _mixed(work: Work, step: Step, rows: Ints, stays: Ints, maps: Sequence[Floats]) -> Step:
    """The step, with ``maps`` (n, d) of the channels in ``rows (heads, d)`` as its targets."""
    n_out = len(step.joint.scale)
    mix = np.eye(n_out)[step.kept] if step.mix is None else np.array(step.mix)
    place = {int(row): k for k, row in enumerate(step.kept)}
    for channels, P in zip(rows, maps, strict=True):
        left = [place[int(row)] for row in channels[stays]]
        mix[left] = 0.0
        mix[np.ix_(left, channels)] = P
    scale = step.joint.scale
    made = mix @ (scale[:, None] * _weights(work, step))
    kept = scale[step.kept][:, None]
    return replace(step, mix=mix, start=made / np.where(kept == 0, 1.0, kept))


def _weights(work: Work, step: Step) -> Floats:
    """The weights (n_out, D) of all rows of the original, for the inputs that are left."""
    name = step.layer.op.result
    layer = next(x for x in work.channels.layers if work.graph.ops[x.node].result == name)
    matrix = Linear(work.graph.ops[layer.node], layer.shape).matrix(work.graph.array(layer.weight))
    for site in work.channels.sites:
        if site.role == "in" and (site.node, site.input) == (layer.node, layer.input):
            by_input = matrix[0].reshape(len(matrix[0]), len(site.ids), -1)
            return np.asarray(by_input[:, work.keep[site.ids]].reshape(len(by_input), -1))
    return np.asarray(matrix[0])


# ── from a layer to a product ───────────────────────────────────────────────────────────────────


def _makers(work: Work, scores: Scores) -> tuple[_Maker | None, _Maker | None]:
    """The makers of queries and of keys; of channels that are both at once, none."""
    q, k = (_maker(work, scores, operand) for operand in (scores.queries, scores.keys))
    if q is not None and k is not None and q.step == k.step and np.isin(q.rows, k.rows).any():
        return None, None
    return q, k


def _maker(work: Work, scores: Scores, operand: Operand) -> _Maker | None:
    """The step that makes an operand, if what lies between only moves and scales its rows."""
    by_joint = {s.joint.tensor: k for k, s in enumerate(work.steps)}
    name: str | None = operand.tensor
    while name is not None and name not in by_joint:
        op = work.graph.producer(name)
        name = None if op is None else _moved(work.graph, op)
    if name is None:
        return None
    step = work.steps[by_joint[name]]
    free = step.joint.other is None and not step.joint.bounded and not step.layer.recurrent
    if not free or step.layer.groups > 1:
        return None
    ends = _ends(work.graph, name, scores)
    rows, others = _traced(work, step, [operand.tensor, *ends])
    mine = None if rows is None else operand.rows(rows)
    if mine is None or np.isin(mine, others).any():
        return None
    heads = mine[0, :, 0]
    if (mine != heads[:, None]).any() or len(np.unique(heads)) < heads.size:
        return None
    return _Maker(by_joint[name], heads)


def _moved(graph: Graph, op: Op) -> str | None:
    """The tensor of which a node passes elements on, perhaps scaled; None of another node."""
    if op.domain:
        return None
    if op.type in MOVING:
        return None if graph.is_constant(op.inputs[0]) else op.inputs[0]
    if op.type not in ("Mul", "Div") or len(op.inputs) != 2:
        return None
    for name, other in (op.inputs, op.inputs[::-1]):
        if graph.is_constant(other) and (op.type == "Mul" or name == op.inputs[0]):
            return name
    return None


def _ends(graph: Graph, name: str, scores: Scores) -> list[str]:
    """The tensors in which elements of ``name`` are read by others than the scores."""
    ends, stack, seen = [], [name], set[str]()
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in graph.outputs:
            ends.append(name)
        for op in graph.readers(name):
            if op.index == scores.node or op.type in MEASURING:
                continue
            if _moved(graph, op) == name:
                stack += [o for o in op.outputs if o]
            else:
                ends.append(name)
    return list(dict.fromkeys(ends))


def _traced(work: Work, step: Step, names: list[str]) -> tuple[NDArray[Any] | None, Ints]:
    """From which row of a step's joint each element of the first tensor comes, and all of others.

    The network runs with the number of its row in place of every value; before, with ones, to learn
    by how much it is scaled. None where the scale differs within the channels of a head.
    """
    feeds = work.images.batches[0]
    joint, axis = step.joint.tensor, step.layer.axis
    proto = work.original.proto
    z = Session(proto, optimize=True, outputs=[joint]).run(feeds)[joint]
    shape = [-1 if a == axis % z.ndim else 1 for a in range(z.ndim)]
    numbers = np.arange(1, z.shape[axis] + 1, dtype=z.dtype).reshape(shape)
    behind = [name for name in names if name != joint]
    session = Session(_opened(proto, joint, z), optimize=True, outputs=behind) if behind else None
    traced = []
    for line in (np.ones_like(numbers), numbers):
        value = np.ascontiguousarray(np.broadcast_to(line, z.shape))
        made = session.run({**feeds, joint: value}, behind) if session is not None else {}
        traced.append({**made, joint: value})
    ones, rows = traced
    numbered = [
        np.rint(rows[n] / np.where(ones[n] == 0, 1.0, ones[n])).astype(np.int64) - 1 for n in names
    ]
    scale = ones[names[0]]
    others = np.unique(np.concatenate([np.empty(0, np.int64), *(t.ravel() for t in numbered[1:])]))
    even = bool((scale != 0).all() and np.ptp(scale) <= 1e-5 * np.abs(scale).max())
    return (numbered[0] if even else None), others


def _opened(proto: onnx.ModelProto, name: str, value: NDArray[Any]) -> onnx.ModelProto:
    """The model with the tensor ``name`` as one more input, whatever made it."""
    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    for node in opened.graph.node:
        for k, output in enumerate(node.output):
            if output == name:
                node.output[k] = f"{name} as it was"
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    opened.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, value.shape))
    return opened
