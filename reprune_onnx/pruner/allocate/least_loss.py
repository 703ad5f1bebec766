"""The allocation ``sensitivity``: the target is the budget, and what is lost is least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil

import numpy as np

from reprune_onnx.choices import Reduction
from reprune_onnx.note import Note
from reprune_onnx.pruner.allocate.budget_problem import BudgetProblem, solve_budget
from reprune_onnx.pruner.allocate.exchange import Exchange
from reprune_onnx.pruner.allocate.multilinear import Multilinear
from reprune_onnx.pruner.allocate.reach import out_of_reach
from reprune_onnx.pruner.allocate.sparsity import exact
from reprune_onnx.pruner.allocate.widths import widths
from reprune_onnx.results import Losses
from reprune_onnx.settings import Settings
from reprune_onnx.types import Floats, Group, Ints

_FAR = 0.01  # of the whole: what costs less by more than this is exchanged for what is nearer
_LOSS = 1e-6  # of what is equally near, that which loses least


def least_loss(
    groups: Sequence[Group],
    losses: Losses,
    reduction: Reduction,
    cost: Multilinear,
    settings: Settings,
    overrides: Mapping[int, int],
) -> tuple[dict[int, int], list[Note]]:
    """Return how many channels each prunable group keeps ``{id: n_keep}``, and notes to print.

    Raises SelectionError where the ``reduction`` of the ``cost`` cannot be met.
    """
    choices = [
        widths(g, settings, overrides, by_losses=True)
        if g.id in losses.error or g.id in overrides
        else np.array([g.n])
        for g in groups
    ]
    unknown = [g for g in groups if g.id not in losses.error and g.id not in overrides]
    full = np.array([g.n for g in groups])
    budget = cost(full) * (1 - reduction.share)
    if reduction.measure == "channels":
        free = sum(int(g.free.sum()) for g in groups)
        budget = cost(full) - ceil(exact(reduction.share) * free)
    least = cost(np.array([values[0] for values in choices]))
    if least > budget + 1e-6 * cost(full):
        most = 1 - least / cost(full)
        how = f" ({_left_whole(unknown)}: --allocation uniform prunes them)" if unknown else ""
        raise out_of_reach(reduction, most, settings, groups, settings.rounding.multiple, how)
    errors = [
        losses.error[g.id][values] if g.id in losses.error else np.zeros(len(values))
        for g, values in zip(groups, choices, strict=True)
    ]
    problem = BudgetProblem(errors, choices, cost)
    kept = solve_budget(problem, max(budget, least))
    if not settings.rounding and reduction.measure != "channels":
        kept = _nearer(problem, kept, budget, cost(full))
    notes = [
        Note("channels per layer follow the losses measured on images (allocation sensitivity)")
    ]
    if unknown:
        notes.append(Note(f"{_left_whole(unknown)}; --allocation uniform prunes them"))
    return {g.id: int(k) for g, k in zip(groups, kept, strict=True)}, notes


def _left_whole(groups: Sequence[Group]) -> str:
    """That groups stay whole of which no loss is known."""
    n = len(groups)
    which = "1 group of channels is" if n == 1 else f"{n} groups of channels are"
    return (
        f"{which} read by no layer that could be measured, and"
        f" {'stays' if n == 1 else 'stay'} whole"
    )


def _nearer(problem: BudgetProblem, kept: Ints, wanted: float, full_cost: float) -> Ints:
    """Improve ``kept`` where it costs less than ``wanted`` by more than a point.

    The result costs nearer to ``wanted`` and loses less than ``kept`` does; where it is more than a
    point away too, it may cost more, by a point at most. A choice that loses as much and costs less
    is no worse for being further from ``wanted``.
    """
    unit = sum(float(e[0]) for e in problem.errors) or 1.0
    for most in (wanted, wanted + _FAR * full_cost):
        now, before = problem.cost(kept), problem.lost(kept) * (1 - 1e-9)
        if now >= wanted - _FAR * full_cost:
            break
        score = partial(_off, (wanted, full_cost, now, most), (before, unit))
        kept = Exchange(problem.choices, problem.errors, problem.cost, score).improve(kept)
    return kept


def _off(
    bounds: tuple[float, float, float, float],
    losing: tuple[float, float],
    costs: Floats,
    losses: Floats,
) -> Floats:
    """The distance from the wanted cost, where loss and cost are allowed; infinite elsewhere."""
    (wanted, full_cost, now, most), (before, unit) = bounds, losing
    allowed = (losses < before) & (costs <= most) | (costs == now)
    return np.where(allowed, np.abs(costs - wanted) / full_cost + _LOSS * losses / unit, np.inf)
