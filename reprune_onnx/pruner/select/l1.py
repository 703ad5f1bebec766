"""The ℓ1 norm of whole filters (Li et al. 2017)."""

from __future__ import annotations

import numpy as np

from reprune_onnx.choices import SelectOptions
from reprune_onnx.pruner.select.ranking import keep_highest
from reprune_onnx.pruner.select.scores import per_channel
from reprune_onnx.types import Choice, Problem


def select(problem: Problem, options: SelectOptions, rng: np.random.Generator) -> Choice:
    """Keep the filters with the largest sums of absolute weights."""
    return keep_highest(problem, per_channel(problem, lambda F: np.abs(F).sum(axis=1)))
