"""The criteria that choose a group's channels: one module each, and their table."""

from __future__ import annotations

import numpy as np

from reprune_onnx.choices import Criterion, Method, SelectOptions
from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.select import (
    auto,
    bn_gamma,
    fpgm,
    l1,
    l2,
    random,
    reconstruction,
    representative,
    reprune,
)
from reprune_onnx.pruner.select.ranking import keep_highest
from reprune_onnx.types import Choice, Problem

METHODS: dict[Method, Criterion] = {
    "auto": Criterion(auto.select, needs="either"),
    "reprune": Criterion(reprune.select),
    "representative": Criterion(representative.select),
    "l1": Criterion(l1.select),
    "l2": Criterion(l2.select),
    "fpgm": Criterion(fpgm.select),
    "bn-gamma": Criterion(bn_gamma.select),
    "random": Criterion(random.select),
    "reconstruction": Criterion(reconstruction.select, needs="losses"),
}


def criterion(method: Method | Criterion) -> Criterion:
    """The row of a method, or the one that is given."""
    return method if isinstance(method, Criterion) else METHODS[method]


def select(
    problem: Problem,
    method: Method | Criterion,
    options: SelectOptions,
    rng: np.random.Generator,
) -> Choice:
    """Choose ``problem.n_keep`` of a group's channels, the fixed ones among them.

    A group without any weight of its own gives what needs weights nothing to judge by: the first
    channels stay. Raises ``SelectionError`` where the numbers cannot be met, a weight is NaN or
    infinite, or a criterion keeps other channels than it may.
    """
    n_fixed = int(problem.fixed.sum())
    if not max(1, n_fixed) <= problem.n_keep <= problem.n:
        raise SelectionError(
            f"cannot keep {problem.n_keep} of {problem.n} channels, {n_fixed} of which must stay"
        )
    row = criterion(method)
    if row.needs == "weights" or (row.needs == "either" and problem.order is None):
        if not all(np.isfinite(filters.kernels).all() for filters in problem.filters):
            raise SelectionError("a weight is NaN or infinite, so its filters cannot be compared")
        if not problem.filters:
            return keep_highest(problem, np.zeros(problem.n))
    chosen = row.select(problem, options, rng)
    choice = chosen if isinstance(chosen, Choice) else Choice(np.sort(np.asarray(chosen, np.int64)))
    kept = set(choice.kept.tolist())
    fits = kept <= set(range(problem.n)) and kept >= set(np.flatnonzero(problem.fixed).tolist())
    if not fits or not len(kept) == len(choice.kept) == problem.n_keep:
        raise SelectionError(
            f"the criterion {row} keeps {len(choice.kept)} channels, {choice.kept.tolist()}: it has"
            f" to keep {problem.n_keep} of {problem.n}, each once, the {n_fixed} fixed ones among"
            " them"
        )
    return choice
