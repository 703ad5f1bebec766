"""Channels of attention that are combined where some of them went, in place of being chosen.

Queries and keys are only multiplied with each other, and values only by the weights of a layer, so
any n combinations of the d channels of a head serve as well as n of the channels. The layers that
make them are fitted to those that lose least (`activations.low_rank`): P·q and Q·k of what the
original makes. Where something nonlinear lies between a layer and the product, as a turn by places
or a normalisation, its channels stay what they are. If that is so for keys alone, queries are
refitted to the keys S that are left, P = G_SS⁻¹·G_S:, and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.low_rank import given, low_rank
from reprune_onnx.activations.makers import Maker, Network
from reprune_onnx.activations.measurable import measured_names
from reprune_onnx.activations.sampling import Look, shares
from reprune_onnx.activations.scores import Scores, score_makers, score_moments, scores_of
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.stretch import Arrays
from reprune_onnx.activations.values import Values, values_of
from reprune_onnx.recovery.plan import Step
from reprune_onnx.recovery.work import Work
from reprune_onnx.types import Floats, Ints, Layer


@dataclass(frozen=True)
class _Combination:
    """The replacement of the channels ``stays`` of ``all`` (d,), rows or inputs of a layer.

    Of what the original makes it is ``P`` (n, d); of the weights that read it, as well.
    """

    all: Ints
    stays: Ints
    P: Floats


@dataclass
class _Changes:
    """The combinations among the rows and among the inputs of a layer."""

    rows: list[_Combination] = field(default_factory=list)
    inputs: list[_Combination] = field(default_factory=list)


Changed = dict[int, _Changes]


@dataclass(frozen=True)
class _ScorePair:
    """Scores that lost channels, and the layers that make queries and keys where these can vary."""

    scores: Scores
    makers: tuple[Maker | None, Maker | None]

    @property
    def node(self) -> int:
        return self.scores.node

    @property
    def look(self) -> Look:
        return Look(self.scores.queries.tensor, self.scores.axis)

    @property
    def tensors(self) -> list[str]:
        return self.scores.tensors

    def combine(self, work: Work, arrays: Iterator[Arrays], changes: Changed) -> None:
        """Note what takes the place of queries and keys, by what they are on images."""
        q, k = self.tensors
        m = score_moments(self.scores, ((a[q], a[k]) for a in arrays))
        stays = np.flatnonzero(work.keep[self.scores.units])
        if None not in self.makers:
            both = [low_rank(a, b, len(stays)) for a, b in zip(m.queries, m.keys, strict=True)]
            maps = [p for p, _ in both], [p for _, p in both]
        else:
            maps = [given(G, stays) for G in m.keys], [given(G, stays) for G in m.queries]
        for maker, by_head in zip(self.makers, maps, strict=True):
            if maker is not None:
                changes[maker.node].rows += [
                    _Combination(rows, rows[stays], P)
                    for rows, P in zip(maker.rows, by_head, strict=True)
                ]


@dataclass(frozen=True)
class _ValuePair:
    """Values of which channels went, and the ``units (n,)`` of the channels of their reader."""

    values: Values
    step: Step
    units: Ints

    @property
    def node(self) -> int:
        return self.values.node

    @property
    def look(self) -> Look:
        return Look.to_fit(self.values.tensor, self.values.linear)

    @property
    def tensors(self) -> list[str]:
        return [self.values.tensor]

    def combine(self, work: Work, arrays: Iterator[Arrays], changes: Changed) -> None:
        """Note what takes the place of values, and of the inputs that read them."""
        values, step = self.values, self.step
        matrix = values.linear.matrix(work.graph.array(values.linear.op.inputs[1]))
        first = values.weights(matrix[:, step.kept], step.joint.scale[step.kept])
        centred = step.intercept is not None
        second = values.moments((a[values.tensor] for a in arrays), centred)
        for head, rows, W, X in zip(values.heads, values.maker.rows, first, second, strict=True):
            stays = np.flatnonzero(work.keep[self.units[head]])
            if 0 < len(stays) < len(head):
                by_weights, by_values = low_rank(W, X, len(stays))
                made, read = changes[values.maker.node], changes[values.node]
                made.rows.append(_Combination(rows, rows[stays], by_values))
                read.inputs.append(_Combination(head, head[stays], by_weights))


def combined(work: Work) -> list[Step]:
    """Return the steps of ``work``, with other targets where channels are combined."""
    places = {s.layer.op.result: k for k, s in enumerate(work.steps)}
    at = [
        (layer, places[work.graph.ops[layer.node].result])
        for layer in work.channels.layers
        if work.graph.ops[layer.node].result in places
    ]
    steps = {layer.node: work.steps[k] for layer, k in at}
    pairs = sorted(_pairs(work, steps), key=lambda pair: pair.node)
    changes: Changed = {node: _Changes() for node in steps}
    if pairs:
        counts = [
            share.batches
            for share in shares(
                work.original.proto, work.images.batches, [pair.look for pair in pairs]
            )
        ]
        frontier = Frontier(
            *(work.original, work.images.batches, [pair.tensors for pair in pairs], counts),
            Store(work.images.room),
        )
        for pair in pairs:
            frontier.advance()
            batches = range(frontier.batches)
            pair.combine(work, (frontier.compute(b) for b in batches), changes)
    result = list(work.steps)
    for layer, k in at:
        if changes[layer.node].rows or changes[layer.node].inputs:
            result[k] = _changed(work, result[k], layer, changes[layer.node])
    return result


def _pairs(work: Work, steps: dict[int, Step]) -> Iterator[_ScorePair | _ValuePair]:
    """The places that lost channels which can be combined, where the layers get new values."""
    images = work.images.batches[0]
    network = Network(work.original, work.graph, work.channels, images)
    names = measured_names(work.original.proto)
    for scores in scores_of(work.graph, work.channels):
        if work.keep[scores.units].all() or not names.issuperset(scores.tensors):
            continue
        q, k = (m if m and m.node in steps else None for m in score_makers(network, scores))
        if q or k:
            yield _ScorePair(scores, (q, k))
    read = {s.node: s for s in work.channels.sites if s.role == "in" and s.input == 1}
    for node, step in steps.items():
        site = read.get(node)
        if site is None or work.keep[site.ids].all():
            continue
        values = values_of(network, node)
        if values is not None and values.maker.node in steps:
            yield _ValuePair(values, step, site.ids)


def _changed(work: Work, step: Step, layer: Layer, changes: _Changes) -> Step:
    """The step with combinations as its targets, and weights that make and read these."""
    op, scale = work.graph.ops[layer.node], step.joint.scale
    mix = _replaced(len(scale), step.kept, changes.rows)
    (W,) = Linear(op, layer.shape).matrix(work.graph.array(layer.weight))
    for site in work.channels.sites:
        if (site.node, site.input, site.role) == (layer.node, layer.input, "in"):
            by_input = W.reshape(len(W), len(site.ids), -1)
            left = np.flatnonzero(work.keep[site.ids])
            reads = _replaced(len(site.ids), left, changes.inputs)
            W = np.einsum("oit,ji->ojt", by_input, reads).reshape(len(W), -1)
    made, kept = mix @ (scale[:, None] * W), scale[step.kept][:, None]
    start = made / np.where(kept == 0, 1.0, kept)
    return replace(step, mix=mix if changes.rows else None, start=start)


def _replaced(n: int, left: Ints, combinations: Sequence[_Combination]) -> Floats:
    """The rows ``left`` of the identity (n, n), with combinations in the places of some."""
    rows = np.zeros((len(left), n))
    rows[np.arange(len(left)), left] = 1.0
    place = {int(channel): k for k, channel in enumerate(left)}
    for c in combinations:
        at = np.array([place[int(channel)] for channel in c.stays], np.int64)
        rows[at] = 0.0
        rows[np.ix_(at, c.all)] = c.P
    return rows
