"""Which channels of a group to keep: one module per criterion, and the table of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reprune_onnx.choices import Method, SelectOptions
from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.select import (
    bn_gamma,
    fpgm,
    l1,
    l2,
    random,
    representative,
    reprune,
)
from reprune_onnx.pruner.select.ranking import keep_highest
from reprune_onnx.types import Choice, Problem

Criterion = Callable[[Problem, SelectOptions, np.random.Generator], Choice]

METHODS: dict[Method, Criterion] = {
    "reprune": reprune.select,
    "representative": representative.select,
    "l1": l1.select,
    "l2": l2.select,
    "fpgm": fpgm.select,
    "bn-gamma": bn_gamma.select,
    "random": random.select,
}


def select(
    problem: Problem, method: Method, options: SelectOptions, rng: np.random.Generator
) -> Choice:
    """Choose ``problem.n_keep`` of a group's channels, the fixed ones among them.

    A group without any weight of its own gives no method anything to judge by: the first channels
    stay. Raises ``SelectionError`` where the numbers cannot be met or a weight is NaN or infinite.
    """
    n_fixed = int(problem.fixed.sum())
    if not max(1, n_fixed) <= problem.n_keep <= problem.n:
        raise SelectionError(
            f"cannot keep {problem.n_keep} of {problem.n} channels, {n_fixed} of which must stay"
        )
    if not all(np.isfinite(filters.kernels).all() for filters in problem.filters):
        raise SelectionError("a weight is NaN or infinite, so its filters cannot be compared")
    if not problem.filters:
        return keep_highest(problem, np.zeros(problem.n))
    return METHODS[method](problem, options, rng)
