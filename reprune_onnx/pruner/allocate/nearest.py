"""Widths that suit a device, nearest to those that were allocated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprune_onnx.pruner.allocate.multilinear import Multilinear
from reprune_onnx.types import Ints


def nearest_within(kept: Ints, choices: Sequence[Ints], cost: Multilinear, budget: float) -> Ints:
    """Return for each group the one of its ``choices``, ascending, that replaces ``kept``.

    All are rounded down. Then groups are rounded up, those first that lost the largest share of a
    step, each if the cost stays within the ``budget``. A group whose choices are all larger than
    what it keeps gets the smallest.

    >>> cost = Multilinear(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 2)))
    >>> nearest_within(np.array([30, 20]), [np.array([16, 32, 48])] * 2, cost, 50)
    array([32, 16])
    """
    index = [
        max(0, int(np.searchsorted(v, k, "right")) - 1) for k, v in zip(kept, choices, strict=True)
    ]
    widths = np.array([v[i] for i, v in zip(index, choices, strict=True)])
    above = np.array([v[min(i + 1, len(v) - 1)] for i, v in zip(index, choices, strict=True)])
    lost = (kept - widths) / np.maximum(above - widths, 1)
    for g in np.argsort(-lost, kind="stable"):
        if lost[g] <= 0:
            break
        raised = widths.copy()
        raised[g] = above[g]
        if cost(raised) <= budget:
            widths = raised
    return widths
