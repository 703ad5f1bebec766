"""The scale |γ| of the BatchNormalization that follows (Liu et al. 2017, "network slimming")."""

from __future__ import annotations

import numpy as np

from reprune_onnx.choices import SelectOptions
from reprune_onnx.pruner.select.ranking import keep_highest
from reprune_onnx.types import Choice, Problem


def select(problem: Problem, options: SelectOptions, rng: np.random.Generator) -> Choice:
    """Keep the channels with the largest |γ|."""
    return keep_highest(problem, problem.gamma)
