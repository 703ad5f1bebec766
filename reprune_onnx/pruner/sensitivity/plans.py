"""The readers of channels that can be measured: layers, and scores of attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.gram import Gram, of_matrix
from reprune_onnx.activations.joint import Joint, joint_of
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.makers import Network
from reprune_onnx.activations.moments import Sums
from reprune_onnx.activations.sampling import Look, Share
from reprune_onnx.activations.scores import Scores, score_makers, score_moments, scores_of
from reprune_onnx.activations.slopes import Activation, activation_of
from reprune_onnx.activations.stretch import Parts
from reprune_onnx.activations.values import Values, lost_by_combining, values_of
from reprune_onnx.activations.workers import Workers
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.op_kinds import FITTED
from reprune_onnx.errors import DataError
from reprune_onnx.types import Floats, Ints, Layer


@dataclass(frozen=True)
class Measurement:
    """W (g, m, D) in units of the deviation of what it makes; the moments (D, D) of each group.

    Where channels can be combined, ``by_number (d + 1,)`` is what is lost in these units with 0 … d
    of each head.
    """

    W: Floats
    grams: list[Gram]
    by_number: Floats | None = None


class Plan(Protocol):
    """A measurement to make at ``node``; ``units (n,)`` are those of the channels it reads.

    For that ``tensors`` are looked at, of one of them as ``look`` says. The channels of each of the
    ``heads`` can be combined.
    """

    @property
    def node(self) -> int:
        """The number of the node that is measured."""

    @property
    def units(self) -> Ints:
        """The units (n,) of the channels that it reads."""

    @property
    def tensors(self) -> list[str]:
        """The tensors that are looked at."""

    @property
    def look(self) -> Look:
        """The tensor and the number of samples that decide how many images it takes."""

    @property
    def heads(self) -> tuple[Ints, ...]:
        """The channels of each head."""

    def measured(
        self, graph: Graph, frontier: Frontier, part: tuple[Share, float], workers: Workers
    ) -> Measurement:
        """Return what a ``part`` of the images tells, an error weighing so much.

        Raises DataError for values that are not finite.
        """


@dataclass(frozen=True)
class LayerPlan:
    """A layer to measure; ``units (n_in/g,)`` are those of its input channels."""

    layer: Layer
    linear: Linear
    joint: Joint
    units: Ints
    values: Values | None = None
    activation: Activation | None = None

    @property
    def heads(self) -> tuple[Ints, ...]:
        """Those of values, where these are what it reads."""
        return () if self.values is None else self.values.heads

    @property
    def node(self) -> int:
        """The place of the layer in the graph."""
        return self.layer.node

    @property
    def tensors(self) -> list[str]:
        """The input, and what the output becomes."""
        return [self.linear.op.inputs[0], self.joint.tensor]

    @property
    def look(self) -> Look:
        """At fewer samples than a fit takes."""
        return Look.to_compare(self.joint.tensor, self.linear)

    def measured(
        self, graph: Graph, frontier: Frontier, part: tuple[Share, float], workers: Workers
    ) -> Measurement:
        """Return W in units of the joint's deviation, and each group's centred moments.

        Errors and deviation count by the slope of the activation function (`slopes`).
        """
        (share, weight), linear, joint = part, self.linear, self.joint
        sums, slopes = Sums(workers, xt=False), np.zeros(linear.n_out)

        def rows(b: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            arrays = frontier.compute(b)
            z = arrays[joint.tensor]
            at = share.places(linear.positions(z), b)
            X = linear.inputs(arrays[linear.op.inputs[0]], z.shape, at).astype(np.float32)
            Z = joint.rows(linear, z, at).astype(np.float32)
            _check([X, Z], linear.op.title)
            return X, Z

        def portion(k: int) -> tuple[NDArray[np.float32], NDArray[np.float32], Floats]:
            X, parts = zip(*map(rows, share.portions[k]), strict=True)
            Z = np.concatenate(parts)
            by_group = Z.reshape(len(Z), linear.groups, -1).swapaxes(0, 1)
            return np.concatenate(X, axis=1), by_group, self._squared_slopes(Z)

        for X, Z, squares in workers.in_order(portion, len(share.portions)):
            sums.add(X, Z)
            slopes += squares
        m = sums.moments()
        W = linear.matrix(graph.array(self.layer.weight))
        counts = slopes.reshape(linear.groups, -1) / m.n
        scale = joint.scale.reshape(linear.groups, -1) * np.sqrt(counts)
        variance = float((m.tt * counts).sum()) or 1.0
        W = W * scale[:, :, None] * np.sqrt(weight / variance)
        grams = [G.shrunk(m.n) for G in m.xx]
        if self.values is None:
            return Measurement(W, grams)
        first, G = self.values.weights(W, np.ones(len(W[0]))), grams[0].matrix()
        second = [G[np.ix_(head, head)].astype(np.float64) for head in self.heads]
        return Measurement(W, grams, lost_by_combining(first, second))

    def _squared_slopes(self, Z: NDArray[np.float32]) -> Floats:
        """Σ f'(z)² (n_out,) of what lies behind z, over samples Z (r, n_out)."""
        if self.activation is None:
            return np.full(Z.shape[1], float(len(Z)))
        return self.activation.squared_slopes(Z)


@dataclass(frozen=True)
class ScorePlan:
    """Scores to measure: as a layer that reads keys, whose weights are the queries."""

    scores: Scores
    combined: bool

    @property
    def heads(self) -> tuple[Ints, ...]:
        """All channels, where they can be combined."""
        return (np.arange(len(self.units)),) if self.combined else ()

    @property
    def node(self) -> int:
        """The place of the product in the graph."""
        return self.scores.node

    @property
    def units(self) -> Ints:
        """The units of the channels that are summed."""
        return self.scores.units

    @property
    def tensors(self) -> list[str]:
        """Queries and keys."""
        return self.scores.tensors

    @property
    def look(self) -> Look:
        """At the queries."""
        return Look(self.scores.queries.tensor, self.scores.axis)

    def measured(
        self, graph: Graph, frontier: Frontier, part: tuple[Share, float], workers: Workers
    ) -> Measurement:
        """Return G_q^½ in units of `Scores.unit`, and the moments of each head's keys."""
        title = graph.ops[self.node].title

        def both(k: int) -> tuple[NDArray[Any], NDArray[Any]]:
            arrays = frontier.compute(k)
            q, k_ = (arrays[name] for name in self.tensors)
            _check([q, k_], title)
            return q, k_

        m = score_moments(self.scores, workers.in_order(both, frontier.batches))
        values, vectors = np.linalg.eigh(m.queries)
        W = np.sqrt(np.maximum(values, 0.0))[:, :, None] * vectors.swapaxes(1, 2)
        W *= np.sqrt(part[1] / self.scores.unit(m))
        grams = [of_matrix(G).shrunk(m.samples) for G in m.keys]
        by_number = m.lost_by_rank() * part[1] / self.scores.unit(m) if self.combined else None
        return Measurement(W, grams, by_number)


def plans_of(network: Network) -> list[Plan]:
    """Return what reads channels that may go, in graph order."""
    graph, channels = network.graph, network.channels
    parts = Parts(network.model)
    movable = np.zeros(channels.n_units, dtype=bool)
    for g in channels.groups:
        movable[g.units[g.free]] = True
    sites = {(s.node, s.input): s for s in channels.sites if s.role == "in"}
    plans: list[Plan] = [
        ScorePlan(s, None not in score_makers(network, s))
        for s in scores_of(graph, channels)
        if movable[s.units].any()
    ]
    for layer in channels.layers:
        site, op = sites.get((layer.node, layer.input)), graph.ops[layer.node]
        readable = layer.op in FITTED and layer.input == 1 and not op.attrs.get("transA", 0)
        if site is None or not readable or not movable[site.ids].any():
            continue
        linear = Linear(op, layer.shape)
        units = site.ids
        if layer.op == "ConvTranspose":  # its groups' input channels lie one after the other
            units = units.reshape(linear.groups, -1)[0]
        joint = joint_of(graph, channels, linear)
        values, f = values_of(network, layer.node), activation_of(network, parts, linear, joint)
        plans.append(LayerPlan(layer, linear, joint, units, values, f))
    return sorted(plans, key=lambda plan: plan.node)


def _check(arrays: Sequence[NDArray[Any]], title: str) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise DataError(
            f"the images make values that are not finite at {title}: give values as the model was"
            " trained on (--preprocess)"
        )
