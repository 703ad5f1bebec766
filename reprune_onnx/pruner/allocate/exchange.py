"""Numbers of channels changed in one group, or in two at once, as long as that is better.

An allocation that follows one number (a sparsity, a price) passes over most of what a network may
become: where layers have few channels, its results lie far apart. Between them lie those of which
one group keeps a channel less and another two more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reprune_onnx.pruner.allocate.multilinear import Multilinear
from reprune_onnx.types import Floats, Ints

_ROUNDS = 6
_TRIALS = 240  # values of first groups: each is tried with all values of all groups
NEAR = 0.0025  # a quarter of a percentage point


@dataclass(frozen=True)
class Exchange:
    """Group g keeps one of ``choices[g]`` (ascending), at the price ``penalty[g]`` of each.

    ``score(costs, penalties)``, of arrays of equal shape, is what shall be least.
    """

    choices: Sequence[Ints]
    penalty: Sequence[Floats]
    cost: Multilinear
    score: Callable[[Floats, Floats], Floats]

    def improve(self, kept: Ints) -> Ints:
        """Return what is left to keep (n_groups,) once no exchange is better.

        A group whose number is none of its choices stays as it is, and costs no penalty.
        """
        kept_now = kept.astype(np.float64)
        paid = np.array([self._paid(g, k) for g, k in enumerate(kept_now)])
        best = float(self.score(np.array([self.cost(kept_now)]), paid.sum(keepdims=True))[0])
        for _ in range(_ROUNDS):
            better, pick, movable = best, None, self._movable(kept_now)
            for g, values in self._first(kept_now, movable):
                for k in values:
                    trial, paid_then = kept_now.copy(), paid.copy()
                    trial[g], paid_then[g] = k, self._paid(g, k)
                    for h in movable:
                        costs = self.cost.along(h, trial, self.choices[h])
                        prices = paid_then.sum() - paid_then[h] + self.penalty[h]
                        scores = self.score(costs, prices)
                        i = int(np.argmin(scores))
                        if scores[i] < better - 1e-12:
                            better, pick = float(scores[i]), (g, k, h, self.choices[h][i])
            if pick is None:
                break
            g, k, h, other = pick
            kept_now[g], kept_now[h], best = k, other, better
            paid[g], paid[h] = self._paid(g, k), self._paid(h, other)
        return np.rint(kept_now).astype(np.int64)

    def _movable(self, kept_now: Floats) -> list[int]:
        return [g for g, v in enumerate(self.choices) if len(v) > 1 and kept_now[g] in v]

    def _first(self, kept_now: Floats, groups: list[int]) -> list[tuple[int, Ints]]:
        """Of each group the values nearest to its own: as many as there is time for.

        Where that is none but its own, one group will do: the others change by themselves.
        """
        n = _TRIALS // max(1, len(groups))
        if n < 2:
            n, groups = 1, groups[:1]
        nearest = []
        for g in groups:
            values = self.choices[g]
            away = np.argsort(np.abs(values - kept_now[g]), kind="stable")
            nearest.append((g, values[away[:n]]))
        return nearest

    def _paid(self, g: int, k: float) -> float:
        at = np.flatnonzero(self.choices[g] == k)
        return float(self.penalty[g][at[0]]) if len(at) else 0.0
