"""Sizes for a model's inputs that fit what is fixed inside it.

A file may leave the sizes of an image open outside, and inside reshape to numbers that only some
sizes have. What is assumed is followed node by node (`reach`); where a node does not fit, other
sizes are tried (`size_candidates`), and those that get to a later node are gone on from, the
furthest first, until ONNX Runtime runs one.

Sizes that exist are found where the first node that fails tells in numbers what it wants, and
each such want is met by a number of images and sides that are alike, or by one side alone, one
node after the other. Elsewhere the search may give up: where several sides have to change at once
to different numbers that no need states, or where only runs tell that a node does not fit. It is
bounded in sizes, in nodes and in runs, and runs nothing that is known to hold more than a proof
may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf, log, prod

import onnx

from reprune_onnx.errors import ModelError
from reprune_onnx.note import Note
from reprune_onnx.runtime.tried_sizes import tried_sizes
from reprune_onnx.safe_inference import (
    EXPORT_LARGER,
    at_risk,
    refuse_negative_extents,
    without_weights,
)
from reprune_onnx.shapes import concrete_shapes
from reprune_onnx.sizes.candidates import Candidates
from reprune_onnx.sizes.held import MOST
from reprune_onnx.sizes.need import Need, times
from reprune_onnx.sizes.reach import NOT_RUN, Reach, Reached

Shapes = dict[str, tuple[int, ...]]

_GIVE_LARGER = "give larger sizes with --input-shape"
_RUNS = 60  # sizes that are run before the search ends
_TRIES, _FEWER = 400, 200  # sizes that are looked at; of a large graph fewer
_NODES = 36_000  # that are passed for it: some five seconds
_QUICK = 2**26  # numbers that nodes read and make in a run that takes no time to speak of
_ROUGH = 48  # candidates of a start before those that give a node a multiple of what it wants
_LATER = 192  # candidates of a start before those that are but nearer to what it wants
_IN_A_ROW = 12  # candidates of one start before those of others have their turn


@dataclass(frozen=True)
class FittingShapes:
    """The shapes of a model's inputs, and why they are not those that are assumed, if so."""

    shapes: Shapes
    note: Note | None = None


def fitting_shapes(
    proto: onnx.ModelProto, overrides: Mapping[str, tuple[int, ...]]
) -> FittingShapes:
    """Return shapes without symbols that the model runs with: `concrete_shapes`, if these fit.

    Extents that the file states or ``overrides`` gives stay. Raises ModelError, naming sizes tried,
    where a number inside fits none of them, or sizes that are stated or given make negative ones.
    """
    assumed = concrete_shapes(proto, overrides)
    candidates = Candidates(proto, assumed, overrides)
    if not candidates.open or not assumed:
        if at_risk(proto):
            advice = _GIVE_LARGER if overrides else EXPORT_LARGER
            refuse_negative_extents(_at(proto, assumed), advice)
        return FittingShapes(assumed)
    reach = Reach(proto)
    reached = reach.of(assumed)
    if reached.need is None and reached.sure:
        return FittingShapes(assumed)
    runs = tried_sizes(proto)
    if runs is None or (not reach.too_large(assumed) and runs(assumed)):
        return FittingShapes(assumed)
    if reached.too_large and reach.of(candidates.small(assumed)).too_large:
        return FittingShapes(assumed)  # by what the file states: a proof takes smaller inputs
    if not reached.sure and not reached.too_large:
        reached = reach.of(assumed, measured=True)
    search = _Search(reach, candidates, runs)
    shapes = search.found(assumed, reached)
    misfit = reached.need or NOT_RUN
    if shapes is not None:
        names = [name for name in shapes if shapes[name] != assumed[name]]
        fits, not_ = ({name: sizes[name] for name in names} for sizes in (shapes, assumed))
        text = f"{_text(fits)} fits, and {_text(not_)}, which is assumed, does not"
        end = f"({misfit.reason}); --input-shape gives others"
        return FittingShapes(shapes, Note(f"sizes of inputs are open: {text} {end}"))
    if not misfit.node:
        return FittingShapes(assumed)
    tried = search.tried
    raise ModelError(
        f"{misfit.reason} at {_text(assumed)}, which is assumed, and {len(tried) - 1} other sizes"
        f" do not fit, from {_text(min(tried, key=_numbers))} to {_text(max(tried, key=_numbers))}:"
        f" give sizes with --input-shape {candidates.first}=…"
    )


def fits(proto: onnx.ModelProto, shapes: Shapes) -> bool:
    """Whether nothing inside is known that inputs of these shapes do not fit."""
    reached = Reach(proto).of(shapes)
    return reached.need is None or reached.too_large


@dataclass
class _Start:
    """Sizes that do not fit, from which others are looked for, and how many were.

    Or sizes that fit, and are to be run later: they have no ``candidates``.
    """

    shapes: Shapes
    reached: Reached
    candidates: Iterator[Shapes] | None
    taken: int = 0

    @property
    def rank(self) -> tuple[int, int, float]:
        """Starts that get far come first, and the nearest of them; all have turns."""
        return self.taken // _IN_A_ROW, -self.reached.place, _apart(self.reached.need)


class _Search:
    """A search from sizes that do not fit to others, which get further, until one runs."""

    def __init__(
        self, reach: Reach, candidates: Candidates, runs: Callable[[Shapes], bool]
    ) -> None:
        self._reach, self._candidates, self._runs = reach, candidates, runs
        self._starts: list[_Start] = []
        self._left = _RUNS
        self.tried: list[Shapes] = []

    def found(self, assumed: Shapes, reached: Reached) -> Shapes | None:
        """Sizes that the model runs with, where ``assumed`` are those that do not fit."""
        self._add(assumed, reached)
        if reached.too_large:  # then batches are tried at small sides too
            small = self._candidates.small(assumed)
            self._add(small, self._reach.of(small), _IN_A_ROW)
        nodes = 0
        while self._starts and self._left:
            if len(self.tried) >= (_TRIES if nodes < _NODES else _FEWER):
                break
            start = min(self._starts, key=lambda start: start.rank)
            if start.candidates is None:
                self._starts.remove(start)
                if self._run(start.shapes, start.reached):
                    return start.shapes
                continue
            new = (s for s in start.candidates if s not in self.tried and _numbers(s) <= MOST)
            shapes = next(new, None)
            if shapes is None:
                self._starts.remove(start)
                continue
            self.tried.append(shapes)
            start.taken += 1
            reached = self._reach.of(shapes)
            nodes += reached.place
            if reached.need is not None:
                if _is_further(reached, start.reached):
                    is_same = reached.place == start.reached.place
                    self._add(shapes, reached, _LATER if is_same else 0)
            elif later := _later(reached, start.reached):
                self._starts.append(_Start(shapes, reached, None, later))
            elif self._run(shapes, start.reached):
                return shapes
        return None

    def _run(self, shapes: Shapes, than: Reached) -> bool:
        """Whether sizes run; where they do not, others are looked for from them."""
        self._left -= 1
        if self._runs(shapes):
            return True
        reached = self._reach.of(shapes, measured=True)
        if _is_further(reached, than):
            is_new = reached.need is not None and reached.place != than.place
            self._add(shapes, reached, 0 if is_new else _LATER)
        return False

    def _add(self, shapes: Shapes, reached: Reached, taken: int = 0) -> None:
        if shapes not in self.tried:
            self.tried.append(shapes)
        others = self._candidates.one_by_one(shapes, reached.need or NOT_RUN)
        likely = self._led_from(shapes, reached)
        self._starts.append(_Start(shapes, reached, likely, taken))
        self._starts.append(_Start(shapes, reached, others, _LATER))

    def _led_from(self, shapes: Shapes, reached: Reached) -> Iterator[Shapes]:
        """Candidates by those extents on which it depends how far a need is from being met."""
        need = reached.need or NOT_RUN
        if reached.too_large:
            is_assumed = shapes == self.tried[0]
            yield from self._candidates.common(shapes) if is_assumed else ()
            yield from self._candidates.smaller(shapes)
            return
        changed = self._candidates.changed(shapes) if need.have and need.want else ()
        moving = [s for s, other in changed if self._moves(other, reached.place, need)]
        yield from self._candidates.around(shapes, need, moving)

    def _moves(self, shapes: Shapes, place: int, need: Need) -> bool:
        """Whether a need is another one at these sizes; so it is where they do not get there."""
        reached = self._reach.of(shapes)
        other = reached.need if reached.place == place else reached.met.get(need.node)
        return other is None or other.have * need.want != other.want * need.have


def _later(reached: Reached, start: Reached) -> int:
    """After how many candidates sizes that fit are run: some give a node a multiple of its want."""
    need = reached.met.get(start.need.node) if start.need else None
    if reached.held > _QUICK:
        return _LATER
    return 0 if need is None or need.have == need.want else _ROUGH


def _is_further(reached: Reached, than: Reached) -> bool:
    """Whether sizes get to a later node, or nearer to what the same one wants."""
    nearer = _apart(reached.need) < _apart(than.need)
    return reached.place > than.place or (reached.place == than.place and nearer)


def _apart(need: Need | None) -> float:
    """The distance of what comes to a node from what it wants, as a ratio."""
    if need is None or not need.have or not need.want:
        return inf
    return abs(log(need.have / need.want))


def _at(proto: onnx.ModelProto, shapes: Shapes) -> onnx.ModelProto:
    """The model without its weights, with inputs of these shapes."""
    light = without_weights(proto)
    for value in light.graph.input:
        if value.name in shapes:
            dims = value.type.tensor_type.shape
            del dims.dim[:]
            for n in shapes[value.name]:
                dims.dim.add(dim_value=n)
    return light


def _numbers(shapes: Shapes) -> int:
    return sum(map(prod, shapes.values()))


def _text(shapes: Shapes) -> str:
    return ", ".join(f"{name} = {times(shape)}" for name, shape in shapes.items())
