"""From drafts to facts: after the walk every tie is known, so every site and count can be settled.

Labels may still vary along two axes of one array, as in the ``(g, c/g)`` of a channel shuffle. A
file can only drop whole rows or whole columns of it, so labels are tied along all axes but one: the
one that leaves most units free. Grouped convolutions are the same question asked of two arrays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from reprune_onnx.analyzer.drafts import CountDraft, GroupedConv, LockDraft, SiteDraft
from reprune_onnx.analyzer.labels import compress, in_a_row, varying
from reprune_onnx.analyzer.numbers import Number, Term, values
from reprune_onnx.analyzer.other_sizes import OtherSizes
from reprune_onnx.analyzer.trials import Trials, axis_units
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.errors import ModelError
from reprune_onnx.types import Computed, Count, Ints, Site, Statistic, Summed

CountPlace = tuple[int, str, int, int]
Weights = dict[int, Fraction]
_WHERE = 9  # the opset that brought Where, by which some numbers of an input are written down
_WRITTEN: dict[int, type[np.generic]] = {
    onnx.TensorProto.INT64: np.int64,
    onnx.TensorProto.INT32: np.int32,
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.DOUBLE: np.float64,
}
"""The types of computed numbers that can be written down."""


def tie_shared_weights(w: Walk) -> None:
    """Layers that read the same weight, or copies of it, have the same channels."""
    first: dict[tuple[str, int], Ints] = {}
    for site in w.sites:
        if site.role == "param":
            continue
        key = (w.graph.origin(site.op.inputs[site.input]), site.axis)
        other = first.setdefault(key, site.labels)
        if other is not site.labels and other.shape == site.labels.shape:
            w.space.tie(other, site.labels)


def settle_arrangements(w: Walk) -> None:
    """Tie labels until every array varies along one axis at most, or cannot be cut at all."""
    if w.locks:
        w.space.lock(np.concatenate([lock.ids for lock in w.locks]))
    grouped = {g.op.index: g for g in w.grouped}
    order = {name: op.index for op in w.graph.ops for name in op.outputs}
    for name, labels in w.tensors.items():
        conv = grouped.get(order.get(name, -1))
        if conv is not None:
            _settle_conv(w, conv)
        _settle_array(w, name, labels.ids)


def _settle_array(w: Walk, name: str, ids: Ints) -> None:
    if len(varying(ids)) < 2:
        return
    roots = compress(w.space.roots(ids))
    axes = varying(roots)
    if len(axes) < 2:
        return
    free = {
        a: w.space.free_rows([np.moveaxis(roots, a, 0).reshape(roots.shape[a], -1)]) for a in axes
    }
    best = max(axes, key=lambda a: free[a])
    if free[best] > 1:
        w.space.tie_along(roots, [a for a in axes if a != best])
    elif not w.space.locked(roots).all():
        reason = f"the channels of '{name}' are arranged along several axes and cannot be cut apart"
        producer = w.graph.producer(name)
        node = producer.name if producer is not None else name
        _lock(w, node, roots, reason)


def _settle_conv(w: Walk, conv: GroupedConv) -> None:
    x, y = conv.inputs, conv.outputs
    blocks = w.space.free_rows([np.concatenate([x, y], axis=1)])
    slots = w.space.free_rows([x.T]) + w.space.free_rows([y.T])
    if max(blocks, slots) == 0:
        reason = f"no group of {conv.op.title} can go without channels that must stay"
        _lock(w, conv.op.name, y, reason)
        _lock(w, conv.op.name, x, reason)
    elif blocks >= slots:
        w.space.tie_along(np.concatenate([x, y], axis=1), (1,))
    else:
        w.space.tie_along(x, (0,))
        w.space.tie_along(y, (0,))


def _lock(w: Walk, node: str, ids: Ints, reason: str) -> None:
    w.locks.append(LockDraft(node, ids.ravel(), reason))
    w.space.lock(ids)


# ── facts ───────────────────────────────────────────────────────────────────────────────────────


def sites(w: Walk, unit_of: Ints) -> Iterable[Site]:
    """The sites along which units vary."""
    for draft in w.sites:
        units = axis_units(unit_of, draft.labels, draft.along)
        if units is not None:
            yield _site(w, draft, units)


def _site(w: Walk, draft: SiteDraft, units: Ints) -> Site:
    tensor = draft.op.inputs[draft.input]
    shape = w.graph.shape(tensor)
    if draft.axis >= len(shape) or shape[draft.axis] != len(units):
        raise ModelError(
            f"'{tensor}' of shape {list(shape)} does not fit {draft.op.title}, which has"
            f" {len(units)} channels there: the file is damaged"
        )
    return Site(draft.op.index, draft.input, tensor, draft.axis, units, draft.role)


def summed(w: Walk, unit_of: Ints) -> Iterable[Summed]:
    """The activations whose channels are summed with another's, one of the two operands each."""
    for draft in w.summed:
        labels = w.tensors[draft.op.inputs[draft.input]]
        units = compress(unit_of[labels.ids])
        for axis in varying(units)[:1]:
            yield Summed(draft.op.index, draft.input, axis, units.ravel())


def statistics(w: Walk, unit_of: Ints) -> Iterable[Statistic]:
    """The statistics over channels, where these differ."""
    for draft in w.statistics:
        ids = w.tensors[draft.op.inputs[draft.inputs[0]]].ids
        units = axis_units(unit_of, ids, draft.axis)
        if units is not None:
            # positions lie beside channels along a last axis alone; elsewhere channels are tied
            times = in_a_row(units) if draft.axis == ids.ndim - 1 else 1
            yield Statistic(
                draft.op.index, draft.axis, units[::times], draft.outputs, times, draft.inputs
            )


class Counts:
    """Settles which integers are rewritten, and which channels stay because one cannot be."""

    def __init__(self, w: Walk, unit_of: Ints, sizes: OtherSizes) -> None:
        self._w = w
        self._unit_of = unit_of
        self._sizes = sizes
        self._trials = Trials(w, unit_of)
        self._facts: dict[CountPlace, tuple[Weights, Count | None]] = {}
        self.locks: list[tuple[str, Ints, str]] = []
        self.written: dict[tuple[int, int], Computed] = {}
        self._claimed: dict[tuple[int, int, int], Weights] = {}  # what constants will be
        looked: set[tuple[int, int]] = set()
        for draft in w.counts:  # one for every element, while an input is written down as a whole
            place = (draft.op.index, draft.input)
            if place not in looked and self._computed(draft) and not self._follows(draft):
                looked.add(place)
                self._write_down(draft)
        written_whole = set(self.written)
        for draft in w.counts:
            if (draft.op.index, draft.input) not in written_whole and self._computed(draft):
                self._write_element(draft)
        for draft in w.counts:
            self._settle(draft)

    @property
    def facts(self) -> tuple[Count, ...]:
        """The counts, in the order in which the rules stated them."""
        return tuple(count for _, count in self._facts.values() if count is not None)

    def _settle(self, draft: CountDraft) -> None:
        need = self._need(draft)
        if not self._computed(draft) or self._is_written(draft):
            self._state(draft, (draft.op.index, draft.attribute, draft.input, draft.index), need)
        elif not self._follows(draft):
            have, multiple = self._have(draft), self._multiple(draft)
            if multiple is not None:
                (node, i, index), times = multiple
                self._state(draft, (node, "", i, index), need, times)
            else:
                why = "reads a computed number that would not follow the channels"
                if not need:
                    why = "reads a number that would change with the channels, and must not"
                self._lock(draft, [*have, *need], why)

    def _follows(self, draft: CountDraft) -> bool:
        """Whether the computed number becomes what it has to be without any change."""
        number = self._number(draft)
        if number.formula is not None:
            counted = self._counted(draft)
            if counted is None and not any(self._product(term)[1] for term in number.terms):
                return True  # no cut changes it
            return self._trials.agree(number, counted, draft.sign)
        all_known = all(
            factor is not None or not units for factor, units in map(self._product, number.terms)
        )
        return number.linear and all_known and _same(self._have(draft), self._need(draft))

    def _claims(self, draft: CountDraft) -> bool:
        """Whether a constant can be rewritten for ``draft``, and is for no other number."""
        multiple = self._multiple(draft)
        if multiple is None:
            return False
        place, times = multiple
        need = {unit: weight / times for unit, weight in self._need(draft).items()}
        return _same(self._claimed.setdefault(place, need), need)

    def _multiple(self, draft: CountDraft) -> tuple[tuple[int, int, int], int] | None:
        """The element of a constant that a number without channels is, and how many times.

        None where it is none, or where a number of the channels is no such multiple.
        """
        number = self._number(draft)
        element = number.factor or number
        if element.origin is None or self._have(draft):
            return None
        if number.factor is None:
            return element.origin, 1
        times = (number.value or 0) / (element.value or 1)
        whole = times >= 1 and all(not weight % int(times) for weight in self._need(draft).values())
        return (element.origin, int(times)) if whole and times.is_integer() else None

    def _have(self, draft: CountDraft) -> Weights:
        """The weights of the units that a computed number counts, along its extents."""
        number = self._number(draft)
        have: Weights = {}
        for term, weight in number.terms.items():
            factor, units = self._product(term)
            scale = weight * (factor or 0) if number.linear else Fraction(1)
            counted = Counter(units)
            scaled = {n: n * scale for n in set(counted.values())}  # fractions add slowly
            for unit, n in counted.items():
                have[unit] = have[unit] + scaled[n] if unit in have else scaled[n]
        return have

    def _product(self, term: Term) -> tuple[int | None, list[int]]:
        """A product of extents: the factor of those without channels, the units along the others.

        The factor is None where it is not known, or where channels are multiplied with channels.
        """
        factor, counted, units = 1, 0, list[int]()
        unknown = False
        for tensor, axis in term:
            along = self._trials.units_at((tensor, axis))
            extent = self._w.tensors[tensor].shape[axis]
            if along is not None:
                units, counted = units + along.tolist(), counted + 1
            elif extent is None:
                unknown = True
            else:
                factor *= extent
        return (None if unknown or counted > 1 else factor), units

    def _write_down(self, draft: CountDraft) -> None:
        """Note the values of the input, if they depend on no batch and no image size."""
        numbers = self._w.numbers[draft.op.inputs[draft.input]]
        array = values(numbers)
        extents = {extent for n in numbers.ravel() for term in n.terms for extent in term}
        units = [self._trials.units_at(extent) for extent in extents]
        varying_units = [some for some in units if some is not None]
        if array is None or not units or len(varying_units) < len(units):
            return
        dtype = self._dtype(draft)
        if dtype is not None:
            self.written[draft.op.index, draft.input] = Computed(
                array.astype(dtype),
                np.unique(np.concatenate(varying_units)),
                np.ones(array.shape, dtype=np.bool_),
            )

    def _write_element(self, draft: CountDraft) -> None:
        """Note one number that would not follow, while those beside it are computed as before.

        It has to be the same for any number and size of images; what must keep its value depends
        on nothing but channels.
        """
        number, dtype = self._number(draft), self._dtype(draft)
        have, need = self._have(draft), self._need(draft)
        if self._follows(draft) or dtype is None or self._claims(draft):
            return
        if self._w.graph.opsets.get("", 1) < _WHERE:
            return
        products = [self._trials.units_at(extent) for term in number.terms for extent in term]
        beside = any(units is None for units in products)  # extents without channels
        if not need and (number.value is None or beside):
            return
        name = draft.op.inputs[draft.input]
        if beside and not self._sizes.keep(name, draft.index, number.value):
            return
        place = (draft.op.index, draft.input)
        shape = self._w.numbers[name].shape
        before = self.written.get(place) or Computed(
            np.zeros(shape, dtype), np.empty(0, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
        )
        values, fixed = before.values.copy(), before.fixed.copy()
        values.flat[draft.index], fixed.flat[draft.index] = number.value or 0, True
        units = np.union1d(before.units, np.array([*have, *need], dtype=np.int64))
        self.written[place] = Computed(values, units, fixed)

    def _is_written(self, draft: CountDraft) -> bool:
        """Whether this very number of its input is written down."""
        written = self.written.get((draft.op.index, draft.input))
        return written is not None and bool(written.fixed.flat[draft.index])

    def _dtype(self, draft: CountDraft) -> np.dtype[Any] | None:
        """The numpy type of the input, where its numbers can be written down."""
        name = draft.op.inputs[draft.input]
        kind = self._w.element_type(name)
        if kind == onnx.TensorProto.FLOAT:  # which may stand for another type of fractions
            kind = self._w.graph.activation_type(name) or kind
        return np.dtype(_WRITTEN[kind]) if kind in _WRITTEN else None

    def _computed(self, draft: CountDraft) -> bool:
        read = not draft.attribute and draft.op.has(draft.input)
        return read and draft.op.inputs[draft.input] in self._w.numbers

    def _number(self, draft: CountDraft) -> Number:
        number: Number = self._w.numbers[draft.op.inputs[draft.input]].ravel()[draft.index]
        return number

    def _counted(self, draft: CountDraft) -> Ints | None:
        """The units that the number counts; None where it does not depend on channels."""
        if draft.labels is None:
            return None
        units = axis_units(self._unit_of, draft.labels, draft.along)
        return None if units is None else units[draft.start : draft.stop]

    def _need(self, draft: CountDraft) -> Weights:
        """The weight of each unit that the number has to count."""
        units = self._counted(draft)
        counted = Counter(units.tolist() if units is not None else ())
        return {unit: Fraction(draft.sign * n) for unit, n in counted.items()}

    def _state(self, draft: CountDraft, target: CountPlace, need: Weights, times: int = 1) -> None:
        """Note that the number at ``target``, taken ``times``, is what ``draft`` reads."""
        need = {unit: weight / times for unit, weight in need.items()}
        earlier = self._facts.get(target)
        if earlier is not None:
            if not _same(earlier[0], need):
                name = target[1] or self._w.graph.ops[target[0]].inputs[target[2]]
                why = f"shares a number of '{name}' with a node that counts other channels"
                self._lock(draft, [*earlier[0], *need], why)
            return
        ids = self._counted(draft)
        count = None if ids is None else Count(*target, np.sort(ids)[::times], draft.sign)
        self._facts[target] = (need, count)

    def _lock(self, draft: CountDraft, units: list[int], why: str) -> None:
        ids = np.array(sorted(set(units)), dtype=np.int64)
        if not len(ids):
            return
        self.locks.append((draft.op.name, ids, f"{draft.op.title} {why}"))


def _same(a: Weights, b: Weights) -> bool:
    return all(a.get(k, 0) == b.get(k, 0) for k in {*a, *b})
