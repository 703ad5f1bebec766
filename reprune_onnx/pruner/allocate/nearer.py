"""An allocation whose cost is nearer to what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprune_onnx.pruner.allocate.exchange import NEAR, Exchange
from reprune_onnx.pruner.allocate.multilinear import Multilinear
from reprune_onnx.types import Floats, Ints

_WORTH = 1e4  # a point off weighs as much as all channels of a hundred groups


def nearer(
    kept: Ints,
    choices: Sequence[Ints],
    cost: Multilinear,
    goal: tuple[float, float],
    *,
    at_least: bool = False,
) -> Ints:
    """Return what groups keep (n_groups,), changed where their cost is not near the goal.

    ``goal`` is a cost, of which a quarter of a per cent counts as near, and the cost that is
    wanted. Of what is near that, the smallest changes are taken, in shares of a group's largest
    choice; else what is nearest. With ``at_least`` no more is kept than is wanted, where ``kept``
    keeps no more.

    >>> cost = Multilinear(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    >>> nearer(np.array([9, 9]), [np.arange(1, 13)] * 2, cost, (144.0, 80.0))
    array([ 8, 10])
    """
    reducible, wanted = goal
    if reducible <= 0 or abs(cost(kept) - wanted) <= NEAR * reducible:
        return kept

    def score(costs: Floats, changes: Floats) -> Floats:
        off = np.maximum(np.abs(costs - wanted) / reducible - NEAR, 0.0)
        scores: Floats = _WORTH * off + changes
        if at_least:
            scores = np.where(costs > max(wanted, cost(kept)) + 1e-9 * reducible, np.inf, scores)
        return scores

    changes = [np.abs(v - k) / max(1, v[-1]) for v, k in zip(choices, kept, strict=True)]
    return Exchange(choices, changes, cost, score).improve(kept)
