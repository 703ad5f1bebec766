"""Multiply-adds and parameters as functions of how many channels each group keeps.

A weight's size is the product of its axes, and along each axis Σ_g a_g·k_g + a_0 entries are left
if group g keeps k_g channels: a sum of products of linear functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from reprune_onnx.types import ChannelMap, Floats, Group, Ints


@dataclass(frozen=True)
class Multilinear:
    """cost(k) = Σ_t factor[t] · Π_a (constant[t, a] + Σ_g slope[t, a, g]·k[g])."""

    factor: Floats
    constant: Floats
    slope: Floats

    def __call__(self, k: Floats | Ints) -> float:
        """Return the cost if group g keeps k[g] channels."""
        return float(self.factor @ (self.constant + self.slope @ k).prod(axis=1))

    def along(self, g: int, k: Floats, values: Ints) -> Floats:
        """Return the cost for every one of ``values`` in place of k[g]."""
        mine = self.slope[:, :, g].any(axis=1)
        fixed = float(self.factor[~mine] @ (self.constant + self.slope @ k)[~mine].prod(axis=1))
        slope = self.slope[mine]
        base = self.constant[mine] + slope @ k - slope[:, :, g] * k[g]
        axes = base[:, :, None] + slope[:, :, g, None] * values
        costs: Floats = fixed + self.factor[mine] @ axes.prod(axis=1)
        return costs


def multilinear(
    channels: ChannelMap, groups: Sequence[Group], measure: Literal["macs", "params", "channels"]
) -> Multilinear:
    """Return the cost of a model as a function of the channels that ``groups`` keep.

    ``channels`` counts those of the groups, each once.
    """
    if measure == "channels":
        ones = np.ones((1, 1, len(groups)))
        return Multilinear(np.ones(1), np.zeros((1, 1)), ones)
    owner = np.full(channels.n_units, -1, dtype=np.int64)
    for i, g in enumerate(groups):
        owner[g.units] = i
    sizes = np.array([g.n for g in groups], dtype=np.float64)
    sites: dict[tuple[int, int], dict[int, Ints]] = {}
    for site in channels.sites:
        sites.setdefault((site.node, site.input), {})[site.axis] = site.ids
    graph = channels.graph
    if measure == "macs":
        weights = [
            (float(layer.positions), layer.shape, (layer.node, layer.input))
            for layer in channels.layers
        ]
    else:
        weights = [(1.0, graph.shape(name), reader) for name, reader in graph.weights()]
    n_axes = max((len(sites.get(place, {})) for _, _, place in weights), default=0)
    factor = np.zeros(len(weights))
    constant = np.ones((len(weights), max(1, n_axes)))
    slope = np.zeros((len(weights), max(1, n_axes), len(groups)))
    for t, (scale, shape, place) in enumerate(weights):
        own = sites.get(place, {})
        factor[t] = scale * prod(n for axis, n in enumerate(shape) if axis not in own)
        for a, ids in enumerate(own.values()):
            counts = np.bincount(owner[ids] + 1, minlength=len(groups) + 1)
            constant[t, a] = counts[0]
            slope[t, a] = counts[1:] / sizes
    return Multilinear(factor, constant, slope)
