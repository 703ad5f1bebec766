"""The same sparsity in every group."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reprune_onnx.pruner.allocate.sparsity import exact


def uniform(counts: Sequence[int], sparsity: float) -> list[int]:
    """Return how many of its ``counts`` channels each group drops: ñ = ⌊s·n⌋.

    >>> uniform([16, 100], 0.55)
    [8, 55]
    """
    s = exact(sparsity)
    return [math.floor(s * n) for n in counts]
