"""Channel regrowth (Algorithm 2, line 8), by the procedure of CHEX (Hou et al. 2022).

After Algorithm 1 has chosen ``keep`` filters of a layer among all restored ones, some of the others
are drawn to stay too. A filter's chance grows with what the kept ones cannot express:

    ε_j = ‖w_j - P w_j‖₂,   P the orthogonal projector on the span of the kept filters

How many follows from the global quantile: with δ_t falling from δ_0 to 0 over T_prune epochs, as
many as would be kept at sparsity s̄ - δ_t, less those that are kept at s̄.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.pruner.allocate import all_equal, at_sparsity, widths
from reprune_onnx.pruner.select.kernels import filters
from reprune_onnx.settings import Settings
from reprune_onnx.types import Filters, Floats, Group, Ints


def delta(t: int, prune_epochs: int, delta_0: float) -> float:
    """δ_t = δ_0 (1 + cos(π t / T_prune)) / 2.

    >>> [round(delta(t, 4, 0.2), 4) for t in range(5)]
    [0.2, 0.1707, 0.1, 0.0293, 0.0]
    """
    return delta_0 * (1 + math.cos(math.pi * t / prune_epochs)) / 2


def counts(
    groups: list[Group],
    gammas: Mapping[int, Floats],
    sparsity: float,
    settings: Settings,
) -> dict[int, int]:
    """The number of channels each group keeps at ``sparsity``: the global |γ| quantile (Eq. 8-9).

    ``gammas[g.id] (n,)`` are |γ|, 0 of channels that are masked; of the ``settings`` only
    the least number of channels and the rounding count. Rounding goes to the nearest width, and to
    the larger of two that are equally near. When all |γ| are equal they say nothing: every group
    loses alike.
    """
    free = [gammas[g.id][g.free] for g in groups]
    telling = None if all_equal(free) else gammas
    kept = at_sparsity(groups, telling, sparsity, settings.fewest_channels(by_losses=False))
    return {
        g.id: _nearest(k, widths(g, settings, {}, by_losses=False))
        for g, k in zip(groups, kept, strict=True)
    }


def _nearest(k: int, choices: Ints) -> int:
    return int(choices[::-1][np.argmin(np.abs(choices[::-1] - k))])


def residuals(group: Group, parts: tuple[Filters, ...], kept: Ints) -> Floats:
    """ε (n,) of every channel: what the span of the ``kept`` filters leaves of its filter.

    Where several layers make a channel, it is the root of the sum of their squares.

    >>> W = np.array([[1.0, 0, 0], [0, 2, 0], [3, 4, 0], [0, 0, 5]]).reshape(4, 1, 3)
    >>> group = Group(0, np.arange(4), np.ones(4, bool), (), ())
    >>> residuals(group, (Filters(W, np.arange(4)),), np.array([0])).round(6)
    array([0., 2., 4., 5.])
    """
    squares = np.zeros(group.n)
    for part in parts:
        W = part.kernels.reshape(len(part.channels), -1)
        chosen = W[np.isin(part.channels, kept)]
        if len(chosen):
            _, s, Vt = np.linalg.svd(chosen, full_matrices=False)
            basis = Vt[s > s[0] * max(chosen.shape) * np.finfo(W.dtype).eps] if s[0] > 0 else Vt[:0]
            W = W - (W @ basis.T) @ basis
        squares[part.channels] += (W**2).sum(axis=1)
    return np.sqrt(squares)


def regrown(epsilon: Floats, candidates: Ints, count: int, rng: np.random.Generator) -> Ints:
    """Draw ``count`` of ``candidates`` without replacement, with probabilities softmax(ε)."""
    if count <= 0 or not len(candidates):
        return np.empty(0, dtype=np.int64)
    e = epsilon[candidates]
    # Gumbel's trick: the largest of ln p + noise are a draw without replacement.
    order = np.argsort(-(e + rng.gumbel(size=len(e))), kind="stable")
    return np.sort(candidates[order[:count]])


def filters_of(graph: Graph, group: Group) -> tuple[Filters, ...]:
    """The filters of every layer that makes the group's channels."""
    parts: list[Filters] = []
    for producer in group.producers:
        layer = producer.layer
        weight = graph.array(layer.weight)
        turned = layer.op == "ConvTranspose"
        parts += filters(weight, producer.rows, layer.out_axis, layer.conv_groups, turned)
    return tuple(parts)
