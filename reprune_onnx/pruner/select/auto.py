"""REPrune's choice, or that of elimination on images where it loses far less there."""

from __future__ import annotations

import numpy as np

from reprune_onnx.choices import SelectOptions
from reprune_onnx.pruner.select import reconstruction, reprune
from reprune_onnx.types import Choice, Problem

FAR = 2.0
"""Times what elimination loses on images, beyond which REPrune's choice is not taken."""


def select(problem: Problem, options: SelectOptions, rng: np.random.Generator) -> Choice:
    """Keep the channels that elimination left longest where there is an order, else REPrune's."""
    if problem.order is None:
        return reprune.select(problem, options, rng)
    return reconstruction.select(problem, options, rng)
