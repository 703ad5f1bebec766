"""The ℓ2 norm of whole filters."""

from __future__ import annotations

import numpy as np

from reprune_onnx.choices import SelectOptions
from reprune_onnx.pruner.select.ranking import keep_highest
from reprune_onnx.pruner.select.scores import per_channel
from reprune_onnx.types import Choice, Floats, Problem


def select(problem: Problem, options: SelectOptions, rng: np.random.Generator) -> Choice:
    """Keep the filters with the largest ℓ2 norms."""
    return keep_highest(problem, norms(problem))


def norms(problem: Problem) -> Floats:
    """Return each channel's norm (n,), relative to its layers' means; REPrune breaks ties by it."""
    return per_channel(problem, lambda F: np.linalg.norm(F, axis=1))
