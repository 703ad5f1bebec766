"""Algorithm 1 of the paper: cluster the kernels per input channel, keep the covering filters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprune_onnx.choices import Coverage, SelectOptions
from reprune_onnx.pruner.select import l2
from reprune_onnx.pruner.select.cluster import clusters
from reprune_onnx.pruner.select.coverage import cover, numbered
from reprune_onnx.types import Choice, Floats, Ints, Problem


def select(problem: Problem, options: SelectOptions, rng: np.random.Generator) -> Choice:
    """Keep the filters whose kernels represent the most clusters (Eq. 1-7).

    ñ = n - n_keep merges in every input channel of a producer that makes all n channels; one that
    makes m of them is clustered at the same sparsity, ⌊m·(n - n_keep)/n⌋ merges.
    """
    dropped = problem.n - problem.n_keep
    clusterings = [
        clusters(
            filters.kernels,
            len(filters.channels) * dropped // problem.n,
            options.linkage,
            options.cutoff,
            filters.trees,
        )
        for filters in problem.filters
    ]
    value = None if options.coverage == "count" else _value(problem, clusterings, options.coverage)
    return cover(problem, clusterings, options.tie_break, l2.norms(problem), rng, value)


def _value(problem: Problem, clusterings: Sequence[Ints], coverage: Coverage) -> Floats:
    """The value of each cluster (|U|,): its kernels' squared norms, times their input's energy.

    Relative to the sum over a producer's clusters: no layer outweighs another by its scale.
    """
    ids, size = numbered(clusterings)
    value = np.zeros(size)
    for filters, u in zip(problem.filters, ids, strict=True):
        norms = (filters.kernels**2).sum(axis=2)  # (m, n_in)
        if coverage == "energy" and filters.energy is not None:
            norms = norms * filters.energy
        value += np.bincount(u.ravel(), norms.ravel() / (norms.sum() or 1.0), minlength=size)
    return value
