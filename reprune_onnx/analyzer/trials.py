"""Cuts on which computed numbers must be what they have to be.

Weighted sums of extents are followed as such. Any other arithmetic, such as ``Max(C, 1)``, is
evaluated: a number that has the value it needs for every cut that is tried follows by itself.
Cuts are drawn at random; and of the channels that a number depends on, each goes alone, or of few
all combinations are tried. So ``(C + 1) / 2``, the first half of an odd number of channels, does
not pass for a half from which other numbers went than from the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import product

import numpy as np

from reprune_onnx.analyzer.labels import compress, varying
from reprune_onnx.analyzer.numbers import Extent, Number, evaluate
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Bools, Ints

_SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)  # of units that are left
_FEW = 6  # units of which all combinations are tried
_ALONE = 32  # units that go alone, where there are more
_UNKNOWN = 9  # extents that no rule tells are 1 to this


class Trials:
    """The cuts that numbers are tried on: units of ``unit_of`` go, but locked ones never do."""

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
        for k, drawn in enumerate((*self._drawn, *self._few(number, counted))):
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

    def _few(self, number: Number, counted: Ints | None) -> Iterator[Bools]:
        """Cuts of few of the units that a number depends on, or that it has to count."""
        extents = {extent for term in number.terms for extent in term}
        along = [units for at in extents if (units := self.units_at(at)) is not None]
        free = np.unique(
            np.concatenate([*along, np.empty(0, np.int64) if counted is None else counted])
        )
        free = free[~self._stays[free]]
        if len(free) <= _FEW:
            for kept in product((True, False), repeat=len(free)):
                keep = np.ones_like(self._stays)
                keep[free] = kept
                yield keep
            return
        for unit in free[:: -(-len(free) // _ALONE)]:
            keep = np.ones_like(self._stays)
            keep[unit] = False
            yield keep

    def _value(self, number: Number, keep: Bools, trial: int) -> float | None:
        rng = np.random.default_rng(trial)
        unknown: dict[Extent, int] = {}

        def extent(at: Extent) -> float:
            units = self.units_at(at)
            if units is not None:
                return max(1, int(keep[units].sum()))
            extent = self._w.tensors[at[0]].shape[at[1]]
            if extent is not None:
                return extent
            return unknown.setdefault(at, int(rng.integers(1, _UNKNOWN + 1)))

        return evaluate(number, extent, {})

    @cached_property
    def _stays(self) -> Bools:
        stays = np.zeros(int(self._unit_of.max(initial=-1)) + 1, dtype=np.bool_)
        stays[self._unit_of[self._w.space.locked(np.arange(len(self._unit_of)))]] = True
        return stays

    @cached_property
    def _drawn(self) -> list[Bools]:
        rng = np.random.default_rng(0)
        return [self._stays | (rng.random(len(self._stays)) < share) for share in _SHARES]


def axis_units(unit_of: Ints, labels: Ints, along: int) -> Ints | None:
    """The unit of every position along ``along``; None where the units do not vary along it."""
    units = compress(unit_of[labels])
    if units.shape[along] == 1 or len(varying(units)) > 1:
        return None
    return units.ravel()
