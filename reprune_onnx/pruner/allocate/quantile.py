"""The paper's allocation: the global |γ| quantile (Eq. 8-9).

γ* is the s̄-quantile of |γ| over the pool of all groups' prunable channels (Eq. 8), and a group's
sparsity s is its share of channels with |γ| ≤ γ* (Eq. 9, the prose of which inverts the indicator).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reprune_onnx.pruner.allocate.sparsity import exact
from reprune_onnx.types import Floats


def bn_gamma(gammas: Sequence[Floats], sparsity: float) -> list[int]:
    """Return how many channels each group drops; ``gammas`` has |γ| of each group's free channels.

    Exactly ⌈s̄·N⌉ of the pool's N channels fall, so none at s̄ = 0. Of equal |γ| at the threshold
    the later ones stay (by group, then channel).

    >>> bn_gamma([np.array([0.1, 0.9]), np.array([0.2, 0.3, 0.8])], 0.5)
    [1, 2]
    """
    pool = np.concatenate([np.empty(0), *gammas])
    group = np.repeat(np.arange(len(gammas)), [len(gamma) for gamma in gammas])
    fallen = np.argsort(pool, kind="stable")[: math.ceil(exact(sparsity) * len(pool))]
    return [int(count) for count in np.bincount(group[fallen], minlength=len(gammas))]


def all_equal(gammas: Sequence[Floats]) -> bool:
    """Whether all |γ| are practically equal, as in a fresh BN: then they say nothing.

    >>> all_equal([np.ones(8), np.ones(4)])
    True
    """
    pool = np.concatenate([np.empty(0), *gammas])
    with np.errstate(invalid="ignore"):  # where all are infinite
        return not pool.size or float(np.ptp(pool)) <= 1e-6 * float(pool.max())
