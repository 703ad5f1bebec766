"""A random choice: the baseline that every criterion has to beat."""

from __future__ import annotations

import numpy as np

from reprune_onnx.choices import SelectOptions
from reprune_onnx.pruner.select.ranking import keep_highest
from reprune_onnx.types import Choice, Problem


def select(problem: Problem, options: SelectOptions, rng: np.random.Generator) -> Choice:
    """Keep channels drawn from ``rng``, each set as likely as any other."""
    return keep_highest(problem, rng.random(problem.n))
