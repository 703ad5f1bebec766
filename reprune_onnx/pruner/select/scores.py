"""Scores of filters as scores of channels, comparable between the layers of a coupled group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reprune_onnx.types import Floats, Problem


def per_channel(problem: Problem, score: Callable[[Floats], Floats]) -> Floats:
    """Return the score (n,) of each channel: the mean over the producers of their filters' scores.

    ``score`` maps filters (m, n_in·d), one per row, to non-negative numbers (m,). Each producer's
    numbers are divided by their mean, so that no layer outweighs another by its scale; with one
    producer this leaves their order as it is. The mean is over the producers that make the channel:
    one that few layers make is not worth less for that. A layer of zeros tells no channels apart.
    """
    total, made = np.zeros(problem.n), np.zeros(problem.n)
    for filters in problem.filters:
        scores = score(filters.kernels.reshape(len(filters.channels), -1))
        mean = scores.mean()
        if mean > 0:
            total[filters.channels] += scores / mean
            made[filters.channels] += 1
    return total / np.maximum(made, 1)
