"""The allocation ``sensitivity``: the target is the budget, and what is lost is least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np

from reprune_onnx.pruner.allocate.reach import out_of_reach
from reprune_onnx.pruner.allocate.sparsity import exact
from reprune_onnx.pruner.allocate.widths import widths
from reprune_onnx.pruner.multilinear import Multilinear
from reprune_onnx.pruner.sensitivity.budget import BudgetProblem, solve_budget
from reprune_onnx.pruner.sensitivity.curves import Losses
from reprune_onnx.settings import Settings
from reprune_onnx.types import Group, Reduction


def by_losses(settings: Settings) -> bool:
    """Whether the allocation follows measured losses."""
    auto = settings.allocation == "auto" and settings.calibration is not None
    return auto or settings.allocation == "sensitivity"


def least_loss(
    groups: Sequence[Group],
    losses: Losses,
    target: tuple[Reduction, Multilinear],
    settings: Settings,
    overrides: Mapping[int, int],
) -> tuple[dict[int, int], list[str]]:
    """Return how many channels each prunable group keeps ``{id: n_keep}``, and notes to print.

    The ``target`` is a reduction and the cost that it reduces. Raises SelectionError where it
    cannot be met.
    """
    reduction, cost = target
    choices = [
        widths(g, settings, overrides)
        if g.id in losses.error or g.id in overrides
        else np.array([g.n])
        for g in groups
    ]
    full = np.array([g.n for g in groups])
    budget = cost(full) * (1 - reduction.share)
    if reduction.measure == "channels":
        free = sum(int(g.free.sum()) for g in groups)
        budget = cost(full) - ceil(exact(reduction.share) * free)
    least = cost(np.array([values[0] for values in choices]))
    if least > budget + 1e-6 * cost(full):
        most = 1 - least / cost(full)
        raise out_of_reach(reduction, most, settings, settings.rounding.multiple)
    errors = [
        losses.error[g.id][values] if g.id in losses.error else np.zeros(len(values))
        for g, values in zip(groups, choices, strict=True)
    ]
    kept = solve_budget(BudgetProblem(errors, choices, cost), max(budget, least))
    notes = [
        "channels per layer follow the losses measured on the --calibration images (allocation"
        " sensitivity)"
    ]
    unknown = [g for g in groups if g.id not in losses.error]
    if unknown:
        notes.append(
            f"{len(unknown)} groups of channels are read by no layer that could be measured: they"
            " stay whole"
        )
    return {g.id: int(k) for g, k in zip(groups, kept, strict=True)}, notes
