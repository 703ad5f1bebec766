"""Algorithm 1 of the paper: cluster the kernels per input channel, keep the covering filters."""

from __future__ import annotations

import numpy as np

from reprune_onnx.pruner.select import l2
from reprune_onnx.pruner.select.cluster import clusters
from reprune_onnx.pruner.select.coverage import cover
from reprune_onnx.types import Choice, Problem, SelectOptions


def select(problem: Problem, options: SelectOptions, rng: np.random.Generator) -> Choice:
    """Keep the filters whose kernels represent the most clusters (Eq. 1-7).

    ñ = n - n_keep merges in every input channel of a producer that makes all n channels; one that
    makes m of them is clustered at the same sparsity, ⌊m·(n - n_keep)/n⌋ merges.
    """
    dropped = problem.n - problem.n_keep
    found = [
        clusters(
            filters.kernels,
            len(filters.channels) * dropped // problem.n,
            options.linkage,
            options.cutoff,
        )
        for filters in problem.filters
    ]
    return cover(problem, found, options.tie_break, l2.norms(problem), rng)
