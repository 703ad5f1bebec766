"""The channels with the highest scores."""

from __future__ import annotations

import numpy as np

from reprune_onnx.types import Choice, Floats, Problem


def keep_highest(problem: Problem, scores: Floats) -> Choice:
    """Keep the fixed channels, then those of the highest ``scores`` (n,), of equals the first."""
    order = np.lexsort((-scores, ~problem.fixed))
    return Choice(kept=np.sort(order[: problem.n_keep]))
