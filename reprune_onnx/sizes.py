"""Sizes for a model's inputs that fit what is fixed inside it.

A file may leave the sizes of an image open outside, and inside reshape to numbers that only some
sizes have. What is assumed is checked by shape inference; where something does not fit, others are
tried: those that the numbers inside lead to, then common ones, until ONNX Runtime runs one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod

import onnx

from reprune_onnx.bodies import bodies, with_bodies
from reprune_onnx.common_sizes import FRAMES, common_sizes
from reprune_onnx.errors import ModelError
from reprune_onnx.held import MOST, held_by_a_node
from reprune_onnx.model import copy_emptied
from reprune_onnx.need import Need, times
from reprune_onnx.needs import BESIDE_EACH_OTHER, Needs, Order, constants_of, extents_of, integers
from reprune_onnx.note import Note
from reprune_onnx.plain_ops import in_plain_ops
from reprune_onnx.runtime.extents import extents_in_a_run
from reprune_onnx.runtime.tried_sizes import tried_sizes
from reprune_onnx.safe_inference import (
    EXPORT_LARGER,
    at_risk,
    infer_shapes,
    refuse_negative_extents,
)
from reprune_onnx.shapes import concrete_shapes, image_layout, stated_shapes, symbols

Shapes = dict[str, tuple[int, ...]]

_GIVE_LARGER = "give larger sizes with --input-shape"
_BATCHES = (2, 4, 8, 16, 32)
_STEPS = (32, 16, 8, 4, 1)  # sides that the numbers inside lead to are rounded to these
_LARGE = 1024  # elements of a constant that shape inference need not see
_RUNS = 60  # sizes that are run before the search ends
_IN_A_ROW = 15  # that meet what one node wants, where it is known what another wants
_BLIND_RUNS = 30  # where shape inference does not sort out most sizes before
_LOOKS = 3  # of these, so many are looked into for what does not fit, and one of each batch
_ERRORS, _OF_SHAPES = "Inference error(s):", "[ShapeInferenceError]"  # in onnx's sentences
_STARTS = 8  # sizes that meet what one node wants from which the search for another's goes on
_STRIDES = (1, 2, 4, 8, 16, 32)
_LEAST, _NUMBERS = 3, 10  # smaller numbers are axes; and so many are tried
_BESIDE_IMAGES = BESIDE_EACH_OTHER | {"LayerNormalization"}
_AT_PLACES = {"GatherElements", "GatherND", "RoiAlign", "ScatterElements", "ScatterND"}


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
    search = _Search(proto, assumed, overrides)
    if not search.open or not assumed:
        if at_risk(proto):
            advice = _GIVE_LARGER if overrides else EXPORT_LARGER
            refuse_negative_extents(search.at(assumed), advice)
        return FittingShapes(assumed)
    misfit = search.misfit(assumed)
    if misfit is None and search.determined(assumed):
        return FittingShapes(assumed)
    runs = search.runner()
    if runs is None or runs(assumed):
        return FittingShapes(assumed)
    misfit = (
        misfit
        or search.seen(assumed)
        or search.too_large(assumed)
        or Need("", "ONNX Runtime does not run the model", known=False)
    )
    tried = [assumed]
    shapes = search.found(misfit, runs, tried)
    if shapes is not None:
        names = [name for name in shapes if shapes[name] != assumed[name]]
        fits, not_ = ({name: sizes[name] for name in names} for sizes in (shapes, assumed))
        text = f"{_text(fits)} fits, and {_text(not_)}, which is assumed, does not"
        end = f"({misfit.reason}); --input-shape gives others"
        return FittingShapes(shapes, Note(f"sizes of inputs are open: {text} {end}"))
    if not misfit.node and not search.too_large(assumed):
        return FittingShapes(assumed)
    raise ModelError(
        f"{misfit.reason} at {_text(assumed)}, which is assumed, and {len(tried) - 1} other sizes"
        f" do not fit, from {_text(min(tried, key=_numbers))} to {_text(max(tried, key=_numbers))}:"
        f" give sizes with --input-shape {search.first}=…"
    )


def fits(proto: onnx.ModelProto, shapes: Shapes) -> bool:
    """Whether shape inference finds nothing inside that inputs of these shapes do not fit."""
    return _Search(proto, shapes, {}).misfit(shapes) is None


class _Search:
    """A model without its weights, for shape inference, and with them in ONNX Runtime."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        assumed: Shapes,
        overrides: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._proto, self._order = proto, Order(proto.graph.node)
        self._assumed = assumed
        known = symbols(proto)
        given = {s for name in overrides for s in known.get(name, ()) if s}
        stated = stated_shapes(proto, {})
        self._axes = {name: known[name] for name in assumed if name in known}
        self._stated = {name: stated[name] or () for name in self._axes}
        self.open = [
            s for axes in self._axes.values() for s in axes if s is not None and s not in given
        ]
        self._firsts = [axes[0] for axes in self._axes.values() if axes and axes[0] in self.open]
        self.first = next((n for n, a in self._axes.items() if set(a) & set(self.open)), "")

    @cached_property
    def _light(self) -> onnx.ModelProto:
        """The model without large weights, whose shapes are declared, and without stated shapes."""
        large = {t.name: t for t in self._proto.graph.initializer if prod(t.dims) > _LARGE}
        light = copy_emptied(self._proto, large)
        rest = [t for t in light.graph.initializer if t.name not in large]
        del light.graph.initializer[:]
        light.graph.initializer.extend(rest)
        constants = constants_of(self._proto.graph)
        in_plain_ops(light.graph.node, {n for n, t in constants.items() if len(t.dims) == 2})
        declared = {i.name for i in light.graph.input}
        for name, t in large.items():
            if name not in declared:
                light.graph.input.append(
                    onnx.helper.make_tensor_value_info(name, t.data_type, list(t.dims))
                )
        inner = (body for node in with_bodies(light.graph.node) for body in bodies(node))
        for graph in (light.graph, *inner):
            del graph.value_info[:]
            for output in graph.output:
                output.type.tensor_type.ClearField("shape")
        return light

    def at(self, shapes: Shapes) -> onnx.ModelProto:
        """The model for shape inference, with inputs of these shapes."""
        for value in self._light.graph.input:
            if value.name in shapes:
                dims = value.type.tensor_type.shape
                del dims.dim[:]
                for n in shapes[value.name]:
                    dims.dim.add(dim_value=n)
        return self._light

    def _inferred(self, shapes: Shapes, strict: bool) -> onnx.ModelProto:
        return infer_shapes(self.at(shapes), strict_mode=strict, data_prop=True)

    def misfit(self, shapes: Shapes) -> Need | None:
        """What does not fit by shape inference; the first, by the numbers of a node if possible."""
        for need in self._needs(shapes):
            if not need.is_met:
                return need
        try:
            self._inferred(shapes, strict=True)
        except Exception as error:  # onnx raises whatever its C++ threw
            if _OF_SHAPES in str(error).partition(_ERRORS)[2]:  # not: a type is not known
                line = " ".join(str(error).split())[:160]
                return Need("", f"shapes do not fit ({line})")
        return None

    def found(
        self, misfit: Need, runs: Callable[[Shapes], bool], tried: list[Shapes]
    ) -> Shapes | None:
        """Sizes that the model runs with, where ``misfit`` is what does not fit the assumed ones.

        Where sizes meet what one node wants and not what another does, the search goes on from
        them. All that are looked at are added to ``tried``.
        """
        waiting = [(self._assumed, misfit)]
        if self.too_large(self._assumed):  # then batches are tried at small sides too
            sides = dict.fromkeys(self._sides(), next(common_sizes(1, 4))[0])
            waiting.append((self._with(self._assumed, self._assumed[self.first][0], sides), misfit))
        left, looks = _RUNS if misfit.known else _BLIND_RUNS, _LOOKS
        looked = {self._assumed[self.first][0]}  # batches of which one was looked into
        for k in range(_STARTS):
            if k == len(waiting):
                return None
            start, need = waiting[k]
            for run, shapes in enumerate(self._fitting(start, need, tried, waiting), 1):
                if self.too_large(shapes):
                    continue
                if runs(shapes):
                    return shapes
                left -= 1
                if not left:
                    return None
                if run >= _IN_A_ROW and len(waiting) > k + 1:
                    break
                batch = shapes[self.first][0]
                other = self.seen(shapes) if looks or batch not in looked else None
                looks = max(looks - 1, 0)
                looked.add(batch)
                if other is not None and self._order.behind(other, need):
                    waiting.append((shapes, other))
        return None

    def _fitting(
        self, start: Shapes, need: Need, tried: list[Shapes], waiting: list[tuple[Shapes, Need]]
    ) -> Iterator[Shapes]:
        """The candidates that fit by shape inference, the nearest to what a node wants first.

        Those that meet ``need``, but not another node's, are added to ``waiting`` beside that.
        """
        others: list[tuple[float, Shapes]] = []
        for shapes in self._candidates(start, need):
            if shapes in tried:
                continue
            tried.append(shapes)
            other = self.misfit(shapes)
            own = next((n for n in self._needs(shapes) if n.node == need.node), None)
            if other is not None:
                if own.is_met if own is not None else self._order.behind(other, need):
                    waiting.append((shapes, other))
                continue
            if own is None or own.have == own.want:
                yield shapes
            else:
                others.append((own.have / max(own.want, 1), shapes))
        yield from (shapes for _, shapes in sorted(others, key=lambda other: other[0]))

    def _needs(self, shapes: Shapes) -> Iterator[Need]:
        """What nodes want of what comes to them, as far as shape inference tells."""
        graph = self._known(shapes)
        return iter(()) if graph is None else Needs(graph).known()

    def _known(self, shapes: Shapes) -> onnx.GraphProto | None:
        """The graph with all shapes that inference knows; None where it stops, and runs decide."""
        try:
            return self._inferred(shapes, strict=False).graph
        except Exception:  # onnx's C++ throws several kinds; then runs decide
            return None

    def seen(self, shapes: Shapes) -> Need | None:
        """What does not fit where shape inference stops: seen in runs of what stands before it.

        A run of too short a part says nothing and one of too long a part fails, so that the first
        node that does not fit is come to by halves.
        """
        graph = self._known(shapes)
        if graph is None or self.too_large(shapes):
            return None
        needs = Needs(graph)
        blind = needs.blind()
        low, high = 0, len(blind)
        while low < high:
            middle = (low + high) // 2
            nodes = blind[low : middle + 1]  # one that fits says nothing of those beside it
            targets = {name for node in nodes for name in needs.computed(node)}
            names = {name for node in nodes for name in needs.unknown(node)} - targets
            try:
                seen = extents_in_a_run(
                    self._proto, names, shapes, all_nodes=False, targets=targets
                )
            except (MemoryError, ModelError):
                high = middle
                continue
            for node in nodes:
                own = {*needs.unknown(node), *needs.computed(node)}
                need = needs.seen(node, {name: seen[name] for name in own & seen.keys()})
                if need is not None and not need.is_met:
                    return replace(need, known=False)
            low = middle + 1
        return None

    def too_large(self, shapes: Shapes) -> Need | None:
        """Whether a run would hold more numbers than a proof may; what is not known counts none."""
        graph = self._known(shapes)
        if graph is None:
            return None
        values = (*graph.value_info, *graph.input, *graph.output)
        held = held_by_a_node(graph.node, {v.name: extents_of(v) for v in values})
        text = f"a node reads and makes {held:,} numbers, and a proof holds at most {MOST:,}"
        return Need("", text, known=False) if held > MOST else None

    def determined(self, shapes: Shapes) -> bool:
        """Whether shape inference knows every shape, so that nothing it does not see can misfit.

        It sees no places that are read or written.
        """
        graph = self._inferred(shapes, strict=False).graph
        if any(node.op_type in _AT_PLACES for node in with_bodies(graph.node)):
            return False
        known = {v.name for v in (*graph.value_info, *graph.output) if extents_of(v) is not None}
        return all(name in known for node in graph.node for name in node.output if name)

    def runner(self) -> Callable[[Shapes], bool] | None:
        """What tells whether a run of given shapes takes no more than it may, and succeeds."""
        runs = tried_sizes(self._proto)
        return None if runs is None else lambda sizes: not self.too_large(sizes) and runs(sizes)

    def _candidates(self, start: Shapes, need: Need) -> Iterator[Shapes]:
        """Shapes to try: those that the numbers inside lead to, then common sides.

        First with the batches that are assumed or stated by a node; batches that nothing states
        come behind all of these. Where only runs tell what fits, of which there are few, they come
        before common sides.
        """
        shape, sides = start[self.first], self._sides()
        stated = list(dict.fromkeys((shape[0], (need.first if self._firsts else 0) or shape[0])))
        guessed = [n for n in _BATCHES if self._firsts and n not in stated]

        def led(batches: list[int]) -> Iterator[Shapes]:
            batches = sorted(batches, key=lambda n: n != need.first)
            for batch in batches:
                for ends in self._led(need, shape, sides, batch):
                    yield self._with(start, batch, dict(zip(sides, ends, strict=True)))
            for batch in batches:
                yield self._with(start, batch, {})

        def common() -> Iterator[Shapes]:
            for n, stride, batch in product(self._numbers, _STRIDES, stated):
                yield self._with(start, batch, dict.fromkeys(sides, n * stride))
            firsts = stated if len(shape) > 2 or not self._firsts else (*stated, *FRAMES)
            for batch, ends in product(firsts, common_sizes(len(sides), len(shape))):
                yield self._with(start, batch, dict(zip(sides, ends, strict=True)))

        yield from led(stated)
        if need.known and start is self._assumed:
            yield from common()
        yield from led(guessed)
        if not need.known and start is self._assumed:
            yield from common()

    @cached_property
    def _numbers(self) -> list[int]:
        """Numbers of the graph that may be sides of what is made inside, the largest first."""
        graph = self._light.graph
        numbers = {n for constant in integers(graph).values() for n in constant}
        extents = {name: t.dims for name, t in constants_of(self._proto.graph).items()}
        for node in graph.node:
            if node.op_type in _BESIDE_IMAGES:
                numbers.update(n for name in node.input for n in extents.get(name, ())[-2:])
        return sorted((n for n in numbers if _LEAST < n < _LARGE), reverse=True)[:_NUMBERS]

    def _led(
        self, need: Need, shape: tuple[int, ...], sides: list[int], batch: int
    ) -> Iterator[tuple[int, ...]]:
        """The sides at which a node gets as much as it wants: by all of them, or by one of them."""
        if not need.have or not need.want:
            return
        ratio = need.want / need.have * shape[0] / batch
        for share in dict.fromkeys((1 / max(len(sides), 1), 1.0)):
            for k, step in product(sides, _STEPS):
                side = max(step, round(shape[k] * ratio**share / step) * step)
                yield (side,) * len(sides)

    def _sides(self) -> list[int]:
        """The open axes of the first input along which an image extends."""
        axes = self._axes[self.first]
        return [k for k, s in enumerate(axes) if k and s in self.open and not self._channels(k)]

    def _channels(self, axis: int) -> bool:
        """Whether an axis of the first input holds the channels of an image."""
        stated = self._stated[self.first]
        if len(stated) < 4:
            return False
        return axis == (3 if len(stated) == 4 and image_layout(stated) == "nhwc" else 1)

    def _with(self, start: Shapes, batch: int, sides: Mapping[int, int]) -> Shapes:
        """The shapes with another batch, and other ``sides`` of the first input, by axis."""
        axes = self._axes[self.first]
        sizes = {str(s): batch for s in self._firsts} | {str(axes[k]): n for k, n in sides.items()}
        return {
            name: tuple(
                sizes.get(s, n) if s in self.open else n
                for s, n in zip(self._axes.get(name, (None,) * len(shape)), shape, strict=True)
            )
            for name, shape in start.items()
        }


def _numbers(shapes: Shapes) -> int:
    return sum(map(prod, shapes.values()))


def _text(shapes: Shapes) -> str:
    return ", ".join(f"{name} = {times(shape)}" for name, shape in shapes.items())
