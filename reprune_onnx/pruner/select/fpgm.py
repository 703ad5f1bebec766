"""Filter pruning via the geometric median (He et al. 2019)."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist, squareform

from reprune_onnx.choices import SelectOptions
from reprune_onnx.pruner.select.ranking import keep_highest
from reprune_onnx.pruner.select.scores import per_channel
from reprune_onnx.types import Choice, Problem


def select(problem: Problem, options: SelectOptions, rng: np.random.Generator) -> Choice:
    """Drop the filters nearest the geometric median.

    A filter is the nearer, the smaller the sum of its distances to all the others.
    """
    return keep_highest(problem, per_channel(problem, lambda F: squareform(pdist(F)).sum(axis=1)))
