"""The allocation ``sensitivity``: the target is the budget, and what is lost is least."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Literal

import numpy as np

from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.allocate.sparsity import exact
from reprune_onnx.pruner.sensitivity.budget import BudgetProblem, solve_budget
from reprune_onnx.pruner.sensitivity.curves import Losses
from reprune_onnx.pruner.sensitivity.multilinear import multilinear
from reprune_onnx.settings import Settings
from reprune_onnx.types import ChannelMap, Group, Ints


def by_losses(settings: Settings) -> bool:
    """Whether the allocation follows measured losses."""
    auto = settings.allocation == "auto" and settings.calibration is not None
    return auto or settings.allocation == "sensitivity"


def least_loss(
    channels: ChannelMap, settings: Settings, losses: Losses, overrides: Mapping[int, int]
) -> tuple[dict[int, int], list[str]]:
    """Return how many channels each prunable group keeps ``{id: n_keep}``, and notes to print.

    A sparsity is a budget of channels, a reduction one of MACs or parameters. Raises
    SelectionError where the budget cannot be met.
    """
    groups = [g for g in channels.groups if g.free.any()]
    measure, share = _target(settings)
    cost = multilinear(channels, groups, measure)
    choices = [_choices(g, settings, losses, overrides) for g in groups]
    full = np.array([g.n for g in groups])
    budget = cost(full) * (1 - share)
    if measure == "channels":
        free = sum(int(g.free.sum()) for g in groups)
        budget = cost(full) - ceil(exact(share) * free)
    least = cost(np.array([values[0] for values in choices]))
    if least > budget + 1e-6 * cost(full):
        most = 1 - least / cost(full)
        raise SelectionError(
            f"{share:.1%} fewer {measure} cannot be reached: at most {most:.1%} can go here; allow"
            " more with --residual prune"
        )
    errors = [
        losses.error[g.id][values] if g.id in losses.error else np.zeros(len(values))
        for g, values in zip(groups, choices, strict=True)
    ]
    kept = solve_budget(BudgetProblem(errors, choices, cost), max(budget, least))
    notes = ["channels per layer follow the loss measured on the images (allocation sensitivity)"]
    unknown = [g for g in groups if g.id not in losses.error]
    if unknown:
        notes.append(
            f"{len(unknown)} groups of channels are read by no layer that could be measured: they"
            " stay whole"
        )
    return {g.id: int(k) for g, k in zip(groups, kept, strict=True)}, notes


def _target(settings: Settings) -> tuple[Literal["macs", "params", "channels"], float]:
    if settings.macs_reduction is not None:
        return "macs", settings.macs_reduction
    if settings.params_reduction is not None:
        return "params", settings.params_reduction
    return "channels", settings.sparsity or 0.0


def _choices(g: Group, settings: Settings, losses: Losses, overrides: Mapping[int, int]) -> Ints:
    """The numbers of channels that a group may keep, ascending."""
    if g.id in overrides:
        return np.array([overrides[g.id]])
    if g.id not in losses.error:
        return np.array([g.n])
    least = min(g.n, max(1, settings.min_channels, int((~g.free).sum())))
    values = np.arange(least, g.n + 1)
    allowed: Ints = values[(values % settings.round_to == 0) | (values == g.n)]
    return allowed
