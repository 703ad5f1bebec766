"""The channels whose loss changes least what the layers behind them make of images."""

from __future__ import annotations

import numpy as np

from reprune_onnx.choices import SelectOptions
from reprune_onnx.pruner.select.ranking import keep_highest
from reprune_onnx.types import Choice, Problem


def select(problem: Problem, options: SelectOptions, rng: np.random.Generator) -> Choice:
    """Keep the channels that elimination on images left longest, else those of largest |γ|.

    ``problem.order (n,)`` has the last to go first; it is None where no layer that could be
    measured reads the channels.
    """
    if problem.order is None:
        return keep_highest(problem, problem.gamma)
    return keep_highest(problem, -np.argsort(problem.order).astype(np.float64))
