"""From a target to numbers: how many channels each group keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.choices import Reduction
from reprune_onnx.errors import SelectionError
from reprune_onnx.note import Note
from reprune_onnx.pruner.allocate import (
    all_equal,
    at_sparsity,
    nearer,
    nearest_within,
    overrides,
    widths,
)
from reprune_onnx.pruner.allocate.least_loss import least_loss
from reprune_onnx.pruner.allocate.multilinear import Multilinear, multilinear
from reprune_onnx.pruner.allocate.reach import out_of_reach
from reprune_onnx.results import Budget, Knowledge
from reprune_onnx.settings import Settings
from reprune_onnx.types import ChannelMap, Group, Ints

_LEVELS = 1000  # a reduction is searched on sparsities 0.000, 0.001, … 0.999


@dataclass(frozen=True)
class _Goal:
    """A reduction of a cost of ``groups``, which is ``full`` where all channels stay."""

    reduction: Reduction
    cost: Multilinear
    full: float
    groups: Sequence[Group]

    def reached(self, kept: Ints) -> float:
        """The share of the cost that goes where groups keep so many channels (n_groups,)."""
        return 1 - self.cost(kept) / max(self.full, 1e-12)


def allocate(
    graph: Graph, channels: ChannelMap, settings: Settings, knowledge: Knowledge, wanted: Reduction
) -> Budget:
    """Choose the number of channels that each prunable group keeps.

    Without measured losses a reduction of anything but channels is reached by searching the
    sparsity whose result is nearest, and where that is not near, by exchanges between groups;
    rounded, it is at least what was asked for. Raises SelectionError where nothing can be pruned or
    the reduction is out of reach.
    """
    groups = [g for g in channels.groups if g.free.any()]
    if not groups:
        raise SelectionError(_nothing_prunable(channels, settings))
    fixed = overrides(channels, settings)
    notes: list[Note] = []
    if settings.coverage == "auto" and settings.resolved_coverage == "norm":
        notes.append(
            Note(
                "a covered cluster counts as much as its kernels (coverage norm), as there are"
                " images to refit layers to; --coverage count is the paper's"
            )
        )
    cost = multilinear(graph, channels, groups, wanted.measure, knowledge.times)
    full = cost(np.array([g.n for g in groups]))
    if wanted.measure == "macs" and full <= 0:
        raise SelectionError(
            "the multiply-adds of the layers that may be pruned are not known, because the sizes of"
            " their images do not follow from the input's: give another --input-shape, or"
            " --sparsity"
        )
    goal = _Goal(wanted, cost, full, groups)
    if settings.by_losses and knowledge.losses is not None:
        least, more = least_loss(groups, knowledge.losses, wanted, cost, settings, fixed)
        reached = goal.reached(np.array([least[g.id] for g in groups]))
        return Budget(least, (*more, *notes), reached)
    budget, more = _by_sparsity(groups, knowledge, settings, fixed)
    notes += more
    sparsity = wanted.share
    if wanted.measure != "channels":
        sparsity = _search(goal, budget, settings)
    kept, unrounded = budget(sparsity), None
    choices = [widths(g, settings, fixed, by_losses=False) for g in groups]
    if settings.rounding:
        unrounded = 1 - cost(kept) / full
        kept = _rounded(goal, budget, sparsity, choices, settings)
    reducible, wanted_cost = full, full * (1 - wanted.share)
    if wanted.measure == "channels":
        reducible = sum(int(g.free.sum()) for g in groups)
        wanted_cost = full - wanted.share * reducible
    kept = nearer(kept, choices, cost, (reducible, wanted_cost), at_least=bool(settings.rounding))
    by_group = {g.id: int(k) for g, k in zip(groups, kept, strict=True)}
    return Budget(by_group, tuple(notes), goal.reached(kept), unrounded)


def _by_sparsity(
    groups: list[Group], knowledge: Knowledge, settings: Settings, fixed: Mapping[int, int]
) -> tuple[Callable[[float], Ints], list[Note]]:
    """A function from the sparsity to the channels kept per group (n_groups,); notes to print."""
    by_gamma = settings.allocation in ("auto", "bn-gamma")
    notes = []
    true = "bn" in knowledge.gamma_source.values()
    what = "|γ|" if true else "norms of filters, for want of |γ|"
    if by_gamma and all_equal([knowledge.gammas[g.id][g.free] for g in groups]):
        notes.append(Note(f"all {what} are equal, so they say nothing: the allocation is uniform"))
        by_gamma = False
    if settings.allocation == "auto" and by_gamma:
        notes.append(
            Note(
                f"channels per layer follow {what} (allocation bn-gamma): there are no"
                " --calibration images to measure losses on"
            )
        )

    def budget(sparsity: float) -> Ints:
        gammas = knowledge.gammas if by_gamma else None
        kept = at_sparsity(groups, gammas, sparsity, settings.fewest_channels(by_losses=False))
        return np.array([fixed.get(g.id, k) for g, k in zip(groups, kept, strict=True)])

    return budget, notes


def _search(goal: _Goal, budget: Callable[[float], Ints], settings: Settings) -> float:
    """The sparsity whose reduction is nearest to the goal."""
    wanted = goal.reduction

    def reduction(level: int) -> float:
        return goal.reached(budget(level / _LEVELS))

    low, high = 0, _LEVELS - 1
    most = reduction(high)
    if most < wanted.share:
        raise out_of_reach(wanted, most, settings, goal.groups)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reduction(middle) < wanted.share else (low, middle)
    nearest = min((low, high), key=lambda level: abs(reduction(level) - wanted.share))
    return nearest / _LEVELS


def _rounded(
    goal: _Goal,
    budget: Callable[[float], Ints],
    sparsity: float,
    choices: list[Ints],
    settings: Settings,
) -> Ints:
    """The allocation at a sparsity, or at the next that can be rounded so that it costs no more.

    Of channels more stay than were asked for where that is impossible.
    """
    wanted, cost, full = goal.reduction, goal.cost, goal.full
    of_channels = wanted.measure == "channels"
    most = cost(budget(sparsity)) if of_channels else (1 - wanted.share) * full
    first = widths = nearest_within(budget(sparsity), choices, cost, most)
    for level in range(math.ceil(sparsity * _LEVELS), _LEVELS):
        if cost(widths) <= most:
            return widths
        widths = nearest_within(budget(level / _LEVELS), choices, cost, most)
    if of_channels:
        return first
    most_reached = 1 - cost(widths) / full
    raise out_of_reach(wanted, most_reached, settings, goal.groups, settings.rounding.multiple)


def _nothing_prunable(channels: ChannelMap, settings: Settings) -> str:
    if settings.scoped:
        given = {"--include": settings.include, "--exclude": settings.exclude}
        options = " and ".join(name for name, globs in given.items() if globs)
        leave = "leave" if settings.include and settings.exclude else "leaves"
        return (
            f"{options} {leave} no channel that could go: name other layers; `reprune-onnx analyze`"
            " shows which can lose channels"
        )
    made = np.concatenate([layer.out_ids for layer in channels.layers] or [np.empty(0, int)])
    reached = [(int(np.isin(made, lock.ids).sum()), lock.reason) for lock in channels.locks]
    reasons = dict.fromkeys(reason for n, reason in sorted(reached, key=lambda r: -r[0]) if n)
    reason = next(iter(reasons), "there are no channels")
    if len(reasons) > 1:
        reason += f", and {len(reasons) - 1} more reason{'s' if len(reasons) > 2 else ''}"
    residual = any(lock.kind == "residual" for lock in channels.locks)
    hint = "try --residual prune, or " if residual else ""
    return f"nothing can be pruned ({reason}): {hint}see `reprune-onnx analyze` for every reason"
