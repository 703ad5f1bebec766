"""Cuts drawn at random, on which computed numbers must be what they have to be.

Weighted sums of extents are followed as such. Any other arithmetic, such as ``Max(C, 1)``, is
evaluated: a number that has the value it needs for every cut that is drawn follows by itself. The
proof of the cut that is made in the end decides; what was right here by chance only fails there.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from reprune_onnx.analyzer.labels import compress, varying
from reprune_onnx.analyzer.numbers import Extent, Number, evaluate
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Bools, Ints

_SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)  # of units that are left
_UNKNOWN = 9  # extents that no rule tells are 1 to this


class Trials:
    """What numbers become when units of ``unit_of`` go; those that are locked never do."""

    def __init__(self, w: Walk, unit_of: Ints) -> None:
        self._w = w
        self._unit_of = unit_of
        self._units: dict[Extent, Ints | None] = {}

    def units_at(self, at: Extent) -> Ints | None:
        """The unit of every position along an axis of a tensor (`axis_units`)."""
        if at not in self._units:
            self._units[at] = axis_units(self._unit_of, self._w.tensors[at[0]].ids, at[1])
        return self._units[at]

    def agree(self, number: Number, counted: Ints | None, sign: int) -> bool:
        """Whether ``number`` is ``sign`` times the units ``counted`` that are left, in each trial.

        Where it counts no units it must be what it is with all of them.
        """
        for k, drawn in enumerate(self._drawn):
            keep = drawn
            if counted is not None and not keep[counted].any():
                keep = drawn.copy()
                keep[counted[k % len(counted)]] = True
            value = self._value(number, keep, k)
            if value is None:
                return False
            if counted is None:
                need = self._value(number, np.ones_like(keep), k)
            else:
                need = float(sign * keep[counted].sum())
            if value != need:
                return False
        return True

    def _value(self, number: Number, keep: Bools, trial: int) -> float | None:
        rng = np.random.default_rng(trial)
        unknown: dict[Extent, int] = {}

        def extent(at: Extent) -> float:
            own = self.units_at(at)
            if own is not None:
                return max(1, int(keep[own].sum()))
            plain = self._w.tensors[at[0]].shape[at[1]]
            if plain is not None:
                return plain
            return unknown.setdefault(at, int(rng.integers(1, _UNKNOWN + 1)))

        return evaluate(number, extent, {})

    @cached_property
    def _drawn(self) -> list[Bools]:
        n = int(self._unit_of.max(initial=-1)) + 1
        stays = np.zeros(n, dtype=np.bool_)
        stays[self._unit_of[self._w.space.locked(np.arange(len(self._unit_of)))]] = True
        rng = np.random.default_rng(0)
        return [stays | (rng.random(n) < share) for share in _SHARES]


def axis_units(unit_of: Ints, labels: Ints, along: int) -> Ints | None:
    """The unit of every position along ``along``; None where the units do not vary along it."""
    units = compress(unit_of[labels])
    if units.shape[along] == 1 or len(varying(units)) > 1:
        return None
    return units.ravel()
