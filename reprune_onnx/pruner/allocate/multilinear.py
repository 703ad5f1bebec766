"""Multiply-adds, parameters and latency as functions of how many channels each group keeps.

A weight's size is the product of its axes, and along each axis Σ_g a_g·k_g + a_0 entries are left
if group g keeps k_g channels: a sum of products of linear functions. Where an axis has only some of
a group's channels (a part of a Concat that is tied as a whole) that is their number on average. The
time of a layer is such a sum too, if it grows with the rows, columns and elements of its weight.
With the last channel of a group may go a whole branch, and all that its layers cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.choices import Measure
from reprune_onnx.pruner.measure import weights
from reprune_onnx.results import LayerTime
from reprune_onnx.types import Bools, ChannelMap, Floats, Group, Ints


@dataclass(frozen=True)
class Multilinear:
    """cost(k) = Σ_t factor[t] · Π_a (constant[t, a] + Σ_g slope[t, a, g]·k[g]).

    A term counts only where every group that it ``needs[t, g]`` keeps a channel.
    """

    factor: Floats
    constant: Floats
    slope: Floats
    needs: Bools | None = None

    def __call__(self, k: Floats | Ints) -> float:
        """Return the cost if group g keeps k[g] channels."""
        return float(self._counted(k) @ (self.constant + self.slope @ k).prod(axis=1))

    def along(self, g: int, k: Floats, values: Ints) -> Floats:
        """Return the cost for every one of ``values`` in place of k[g]."""
        mine = self.slope[:, :, g].any(axis=1)
        present = k.copy()
        if self.needs is not None:
            mine |= self.needs[:, g]
            present[g] = 1.0
        factor = self._counted(present)
        fixed = float(factor[~mine] @ (self.constant + self.slope @ k)[~mine].prod(axis=1))
        slope = self.slope[mine]
        base = self.constant[mine] + slope @ k - slope[:, :, g] * k[g]
        axes = base[:, :, None] + slope[:, :, g, None] * values
        terms = axes.prod(axis=1)
        if self.needs is not None:
            terms[np.ix_(self.needs[mine, g], values == 0)] = 0.0
        costs: Floats = fixed + factor[mine] @ terms
        return costs

    def _counted(self, k: Floats | Ints) -> Floats:
        """The factor of each term (n_terms,), 0 where a group that it needs keeps nothing."""
        if self.needs is None or (k > 0).all():
            return self.factor
        return np.where(self.needs[:, k == 0].any(axis=1), 0.0, self.factor)


def multilinear(
    graph: Graph,
    channels: ChannelMap,
    groups: Sequence[Group],
    measure: Measure,
    times: Mapping[int, LayerTime] | None = None,
) -> Multilinear:
    """Return the cost of a model as a function of the channels that ``groups`` keep.

    ``channels`` counts those of the groups, each once; ``latency`` is the sum of ``times``, by
    node: a layer whose time is not known costs nothing. Multiply-adds of all branches of an If add
    up here, so that with them this is an upper bound of ``cost``, which counts the largest branch.
    """
    if measure == "channels":
        ones = np.ones((1, 1, len(groups)))
        return Multilinear(np.ones(1), np.zeros((1, 1)), ones)
    owner = np.full(channels.n_units, -1, dtype=np.int64)
    for i, g in enumerate(groups):
        owner[g.units] = i
    sizes = np.array([g.n for g in groups], dtype=np.float64)
    terms = (
        _times(channels, times or {}) if measure == "latency" else _sizes(graph, channels, measure)
    )
    n_axes = max((len(term.axes) for term in terms), default=0)
    factor = np.array([term.factor for term in terms])
    constant = np.ones((len(terms), max(1, n_axes)))
    slope = np.zeros((len(terms), max(1, n_axes), len(groups)))
    needs = np.zeros((len(terms), len(groups)), dtype=np.bool_)
    for t, term in enumerate(terms):
        for a, ids in enumerate(term.axes):
            counts = np.bincount(owner[ids] + 1, minlength=len(groups) + 1)
            constant[t, a] = counts[0]
            slope[t, a] = counts[1:] / sizes
        for i, g in enumerate(groups):
            needs[t, i] = g.branch is not None and term.node in g.branch.nodes
    return Multilinear(factor, constant, slope, needs if needs.any() else None)


@dataclass(frozen=True)
class _Term:
    """A factor, and the units along each axis that a cut shortens, of the weight of a ``node``."""

    factor: float
    axes: list[Ints]
    node: int


def _sizes(graph: Graph, channels: ChannelMap, measure: Measure) -> list[_Term]:
    """Of each weight: its elements, for multiply-adds times the positions where it is used.

    Multiply-adds are those of the layers in scope.
    """
    sites = _sites(channels)
    if measure == "macs":
        layers = [x for x in channels.layers if channels.counts_layer(x)]
        places = [
            (float(x.positions), shape, (x.node, i)) for x in layers for i, shape in x.weights
        ]
    else:
        places = [(1.0, graph.shape(name), reader) for name, reader in weights(graph, channels)]
    terms: list[_Term] = []
    if measure == "macs" and channels.scope is None:
        terms += [_Term(product.macs, [product.ids], product.node) for product in channels.passing]
    for scale, shape, place in places:
        by_axis = sites.get(place, {})
        rest = prod(n for axis, n in enumerate(shape) if axis not in by_axis)
        terms.append(_Term(scale * rest, list(by_axis.values()), place[0]))
    return terms


def _times(channels: ChannelMap, times: Mapping[int, LayerTime]) -> list[_Term]:
    """Of each layer: what it takes at all, per row, per column and per element of its weight."""
    sites, terms = _sites(channels), list[_Term]()
    for layer in channels.layers:
        time = times.get(layer.node)
        if time is None:
            continue
        by_axis = sites.get((layer.node, layer.input), {})
        axes = [by_axis.get(axis) for axis in (0, 1)]
        fixed = [float(layer.shape[axis]) if ids is None else 1.0 for axis, ids in enumerate(axes)]
        for scale, wanted in (
            (time.base, ()),
            (time.per_row, (0,)),
            (time.per_column, (1,)),
            (time.per_element, (0, 1)),
        ):
            ids = [units for axis in wanted if (units := axes[axis]) is not None]
            factor = scale * prod(fixed[axis] for axis in wanted)
            terms.append(_Term(factor, ids, layer.node))
    return terms


def _sites(channels: ChannelMap) -> dict[tuple[int, int], dict[int, Ints]]:
    sites: dict[tuple[int, int], dict[int, Ints]] = {}
    for site in channels.sites:
        sites.setdefault((site.node, site.input), {})[site.axis] = site.ids
    return sites
