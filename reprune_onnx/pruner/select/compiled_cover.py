"""The inner step of `coverage`, compiled by numba."""

from __future__ import annotations

import numpy as np

from reprune_onnx.pruner.select.fast import compiled
from reprune_onnx.types import Floats, Ints


@compiled
def lost(indptr: Ints, indices: Ints, newly: Ints, values: Floats, n: int) -> Floats:
    """The loss of each channel's score (n,) when the clusters ``newly`` are covered.

    ``indptr`` and ``indices`` say which channels are in each cluster. The same as
    `coverage.plain_lost`, to the last bit.
    """
    total = np.zeros(n)
    for u in newly:
        for k in range(indptr[u], indptr[u + 1]):
            total[indices[k]] += values[u]
    return total
