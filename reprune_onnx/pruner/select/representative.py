"""One representative per cluster of whole filters, after the older method of the same name (2020).

Of that method only the abstract is public: Ward linkage, and "nearest the mean" as the rule for the
representative, are this project's choice.
"""

from __future__ import annotations

import numpy as np

from reprune_onnx.choices import SelectOptions
from reprune_onnx.pruner.select.cluster import cut, dendrograms
from reprune_onnx.types import Bools, Choice, Floats, Ints, Problem


def select(problem: Problem, options: SelectOptions, rng: np.random.Generator) -> Choice:
    """Keep, of each cluster of filters, the member nearest the cluster's mean.

    Fixed channels represent their clusters, all of them; there are as many clusters (n_keep where
    nothing is fixed) as make ``n_keep`` channels stay.
    """
    filters = _whole_filters(problem)
    tree = dendrograms(filters[:, None, :], "ward")
    n_merges = _merges(tree.pairs[0], problem.fixed, problem.n - problem.n_keep)
    cluster = cut(tree, np.array([n_merges]))[:, 0]

    kept = problem.fixed.copy()
    for c in range(cluster.max() + 1):
        members = np.flatnonzero(cluster == c)
        if not kept[members].any():
            kept[members[_nearest_mean(filters[members])]] = True
    return Choice(kept=np.flatnonzero(kept))


def _whole_filters(problem: Problem) -> Floats:
    """Return (n, Σ n_in·d): each channel's filters in all producers, scaled to a mean norm of 1."""
    parts = []
    for filters in problem.filters:
        m = len(filters.channels)
        F = filters.kernels.reshape(m, -1)
        part = np.zeros((problem.n, F.shape[1]))
        part[filters.channels] = F / (np.linalg.norm(F, axis=1).mean() or 1.0)
        parts.append(part)
    return np.concatenate(parts, axis=1)


def _merges(pairs: Ints, fixed: Bools, n_drop: int) -> int:
    """Return after how many merges, ``pairs`` (n - 1, 2) of names, ``n_drop`` channels have to go.

    A merge leaves one representative less, unless both sides are represented by fixed channels.
    """
    is_fixed = fixed.copy()
    dropped = 0
    for c, (a, b) in enumerate(pairs):
        if dropped == n_drop:
            return c
        dropped += not (is_fixed[a] and is_fixed[b])
        is_fixed[b] |= is_fixed[a]
    return len(pairs)


def _nearest_mean(filters: Floats) -> int:
    """Return the row nearest the rows' mean; of equals (any two filters alone) the first."""
    distance = np.linalg.norm(filters - filters.mean(axis=0), axis=1)
    return int(np.argmax(distance <= distance.min() * (1 + 1e-9)))
