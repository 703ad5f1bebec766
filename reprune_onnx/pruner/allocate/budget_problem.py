"""The allocation that loses least within a budget.

    minimise Σ_g E_g(k_g)    so that    cost(k) ≤ budget

with the measured curves E_g and a multilinear cost: layers share groups, so one group's price
depends on the others. For a price λ per unit of cost the groups are solved in turn, each exactly,
over its whole curve, until none changes; λ is found by bisection, from the full and from the
smallest model, and the better result is taken; what it leaves of the budget is spent where a
channel gains most per cost. Where layers have few channels, much may be left: then groups exchange
channels as long as that loses less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprune_onnx.pruner.allocate.exchange import NEAR, Exchange
from reprune_onnx.pruner.allocate.multilinear import Multilinear
from reprune_onnx.types import Floats, Ints

_SWEEPS = 50  # over all groups, at one price
_BISECTIONS = 60
_LOOKAHEAD = 8  # channels that are bought at once where a single one gains nothing


@dataclass(frozen=True)
class BudgetProblem:
    """Group g keeps one of ``choices[g]`` (ascending) channels and loses ``errors[g]``."""

    errors: Sequence[Floats]
    choices: Sequence[Ints]
    cost: Multilinear

    def loss(self, index: Ints) -> float:
        """The loss of the choices with these indices."""
        return float(sum(e[i] for e, i in zip(self.errors, index, strict=True)))

    def lost(self, kept: Ints) -> float:
        """The loss of these numbers of channels (groups,), each one of the choices."""
        at = [int(np.searchsorted(v, k)) for v, k in zip(self.choices, kept, strict=True)]
        return self.loss(np.array(at))

    def kept(self, index: Ints) -> Ints:
        """The numbers of channels (groups,) behind the indices of choices."""
        return np.array([v[i] for v, i in zip(self.choices, index, strict=True)])


def solve_budget(problem: BudgetProblem, budget: float) -> Ints:
    """Return how many channels each group keeps (groups,).

    Where even the smallest choices cost more than ``budget``, those.
    """
    least = np.zeros(len(problem.choices), dtype=np.int64)
    full = np.array([len(v) - 1 for v in problem.choices])
    candidates = [_spent(problem, budget, _bisected(problem, budget, s)) for s in (full, least)]
    kept = problem.kept(min(candidates, key=problem.loss))
    full_cost = problem.cost(problem.kept(full))
    if budget - problem.cost(kept) <= NEAR * full_cost or problem.cost(kept) > budget:
        return kept

    def score(costs: Floats, losses: Floats) -> Floats:
        return np.where(costs > budget, np.inf, losses)

    return Exchange(problem.choices, problem.errors, problem.cost, score).improve(kept)


def _bisected(problem: BudgetProblem, budget: float, start: Ints) -> Ints:
    """The choices at the lowest price at which they fit, from ``start``."""
    full = np.array([v[-1] for v in problem.choices])
    unit = sum(float(e[0]) for e in problem.errors) / max(problem.cost(full), 1.0) or 1.0
    low, high = 0.0, unit * 2.0**60
    best = np.zeros_like(start)
    for _ in range(_BISECTIONS):
        price = unit * 2.0**-20 if low == 0 else float(np.sqrt(low * high))
        index = _at_price(problem, price, start)
        if problem.cost(problem.kept(index)) > budget:
            low = max(price, unit * 2.0**-20)
        else:
            high, best = price, index
            if low == 0:
                break  # everything fits
        if low and high / low < 1 + 1e-9:
            break
    return best


def _at_price(problem: BudgetProblem, price: float, start: Ints) -> Ints:
    index: Ints = start.copy()
    k = problem.kept(index).astype(np.float64)
    for _ in range(_SWEEPS):
        before = index.copy()
        for g, (error, values) in enumerate(zip(problem.errors, problem.choices, strict=True)):
            index[g] = int(np.argmin(error + price * problem.cost.along(g, k, values)))
            k[g] = values[index[g]]
        if (index == before).all():
            break
    return index


def _spent(problem: BudgetProblem, budget: float, index: Ints) -> Ints:
    """Keep more channels as long as the budget allows, those that gain most per cost first."""
    index = index.copy()
    while True:
        k = problem.kept(index).astype(np.float64)
        now, best, pick = problem.cost(k), 0.0, None
        for g, (error, values) in enumerate(zip(problem.errors, problem.choices, strict=True)):
            i = index[g]
            further = values[i + 1 : i + 1 + _LOOKAHEAD]
            if not len(further):
                continue
            extra = problem.cost.along(g, k, further) - now
            gain = error[i] - error[i + 1 : i + 1 + len(further)]
            rate = np.where(now + extra <= budget, gain / np.maximum(extra, 1e-9), 0.0)
            if rate.max() > best:
                best, pick = float(rate.max()), (g, i + 1 + int(rate.argmax()))
        if pick is None:
            return index
        index[pick[0]] = pick[1]
