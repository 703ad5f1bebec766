"""The sizes that are worth a try where others do not fit, those that a node leads to first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, product
from math import isqrt, prod

import onnx

from reprune_onnx.common_sizes import FRAMES, common_sizes
from reprune_onnx.need import Need
from reprune_onnx.needs import BESIDE_EACH_OTHER, constants_of, integers
from reprune_onnx.shapes import image_layout, stated_shapes, symbols

Shapes = dict[str, tuple[int, ...]]

_BATCHES = (2, 4, 8, 16, 32, 3)
_MOST_IMAGES = 64
_STEPS = (32, 16, 8, 4, 1)  # sides that the numbers inside lead to are rounded to these
_STRIDES = (1, 2, 4, 8, 16, 32)
_LEAST, _LARGE = 3, 1024  # smaller numbers are axes, and larger ones no sides
_NUMBERS = 10  # so many of them are tried
_BESIDE_IMAGES = BESIDE_EACH_OTHER | {"LayerNormalization"}


class Candidates:
    """The open extents of a model's inputs, and what they may be.

    Extents are told apart by their symbols. All inputs have the same number of images, where that
    is open; other open extents are *sides*, but for the channels of images, which stay as assumed.
    """

    def __init__(
        self, proto: onnx.ModelProto, assumed: Shapes, overrides: Mapping[str, tuple[int, ...]]
    ) -> None:
        self._proto, self._assumed = proto, assumed
        named = symbols(proto)
        given = {s for name in overrides for s in named.get(name, ()) if s}
        self._axes = {name: named[name] for name in assumed if name in named}
        self._stated = stated_shapes(proto, {})
        self.open = [s for axes in self._axes.values() for s in axes if s and s not in given]
        self._batch = [axes[0] for axes in self._axes.values() if axes and axes[0] in self.open]
        self.first = next((n for n, a in self._axes.items() if set(a) & set(self.open)), "")
        self._sides = {name: self._sides_of(name) for name in self._axes}

    def small(self) -> Shapes:
        """The assumed shapes with the smallest common sides."""
        side = next(common_sizes(1, 4))[0]
        return self._with(self._assumed, {s: side for sides in self._sides.values() for s in sides})

    def around(self, start: Shapes, need: Need) -> Iterator[Shapes]:
        """Yield shapes to try from ``start``, at which ``need`` is not met.

        First those that the numbers of the need lead to, with the batches that are assumed or that
        a node states; from the assumed shapes on common sizes too. Batches that nothing states come
        behind all of these, but where only runs tell what fits, of which there are few.
        """
        stated, guessed = self._batches(start, need)
        led = self._led(start, need, stated)
        more = self._led(start, need, guessed)
        common = self._common(start, stated) if start == self._assumed else ()
        return chain(led, *((common, more) if need.known else (more, common)))

    def one_by_one(self, start: Shapes, need: Need) -> Iterator[Shapes]:
        """Yield shapes that nothing speaks for, but that all that leads nowhere leaves."""
        stated, guessed = self._batches(start, need)
        yield from self._rectangles(start, need, [*stated, *guessed])
        yield from self._alone(start)

    def _batches(self, start: Shapes, need: Need) -> tuple[list[int], list[int]]:
        """Numbers of images: those of ``start`` and of the node, if it states one; and others."""
        if not self._batch:
            return [1], []
        stated = [need.first] if need.first else []
        stated = list(dict.fromkeys((*stated, self._images(start))))
        return stated, [n for n in dict.fromkeys((*_BATCHES, *self._counts)) if n not in stated]

    def _images(self, start: Shapes) -> int:
        return self._extents(start)[self._batch[0]] if self._batch else 1

    def _led(self, start: Shapes, need: Need, batches: Sequence[int]) -> Iterator[Shapes]:
        """Sizes at which a node gets as much as it wants, by a batch and by some of the sides."""
        extents, batch = self._extents(start), self._images(start)
        for n in batches:
            images = dict.fromkeys(self._batch, n)
            if need.have and need.want:
                for sides in self._groups:
                    for ends in _scaled([extents[s] for s in sides], need, batch / n):
                        yield self._with(start, images | dict(zip(sides, ends, strict=True)))
        for n in batches:
            yield self._with(start, dict.fromkeys(self._batch, n))

    def _common(self, start: Shapes, batches: Sequence[int]) -> Iterator[Shapes]:
        """Sides that stand in the graph, times strides, and that inputs often have."""
        rank, sides = len(start[self.first]), self._sides[self.first]
        alike = [other for other in self._sides.values() if len(other) == len(sides)]
        every = {s for other in self._sides.values() for s in other}
        for n, stride, images in product(self._numbers, _STRIDES, batches):
            yield self._with(
                start, dict.fromkeys(self._batch, images) | dict.fromkeys(every, n * stride)
            )
        firsts = batches if rank > 2 or not self._batch else (*batches, *FRAMES)
        for images, ends in product(firsts, common_sizes(len(sides), rank)):
            pairs = [pair for other in alike for pair in zip(other, ends, strict=True)]
            yield self._with(start, dict.fromkeys(self._batch, images) | dict(pairs))

    def _rectangles(self, start: Shapes, need: Need, batches: Sequence[int]) -> Iterator[Shapes]:
        """Two sides of the area at which a node gets as much as it wants, squares first."""
        extents, sides, batch = self._extents(start), self._sides[self.first], self._images(start)
        if not need.have or len(sides) != 2:
            return
        for n in batches:
            area = round(prod(extents[s] for s in sides) * need.want / need.have * batch / n)
            root = isqrt(area)
            for a in (a for a in range(root, root // 8, -1) if area % a == 0):
                for ends in ((a, area // a), (area // a, a)):
                    images = dict.fromkeys(self._batch, n)
                    yield self._with(start, images | dict(zip(sides, ends, strict=True)))

    def _alone(self, start: Shapes) -> Iterator[Shapes]:
        """Each side alone, over numbers of the graph times strides, and small ones."""
        sides = dict.fromkeys(s for other in self._sides.values() for s in other)
        numbers = sorted({n * stride for n, stride in product(self._numbers, _STRIDES)})
        for n, side in product(dict.fromkeys((*range(1, 17), *numbers)), sides):
            yield self._with(start, {side: n})

    @cached_property
    def _groups(self) -> list[list[str]]:
        """Sides that are led to together: those of the first input, of others, of all, and each."""
        one = list(self._sides.values())
        every = list(dict.fromkeys(chain(*one)))
        groups = [self._sides[self.first], every, *one, *([s] for s in every)]
        return [list(g) for g in dict.fromkeys(map(tuple, groups)) if g]

    @cached_property
    def _integers(self) -> set[int]:
        return {n for constant in integers(self._proto.graph).values() for n in constant}

    @cached_property
    def _numbers(self) -> list[int]:
        """Numbers of the graph that may be sides of what is made inside, the largest first."""
        numbers = set(self._integers)
        extents = {name: t.dims for name, t in constants_of(self._proto.graph).items()}
        for node in self._proto.graph.node:
            if node.op_type in _BESIDE_IMAGES:
                numbers.update(n for name in node.input for n in extents.get(name, ())[-2:])
        return sorted((n for n in numbers if _LEAST < n < _LARGE), reverse=True)[:_NUMBERS]

    @cached_property
    def _counts(self) -> list[int]:
        """Numbers of the graph that may be numbers of images."""
        return sorted(n for n in self._integers if 1 < n <= _MOST_IMAGES)[:_NUMBERS]

    def _sides_of(self, name: str) -> list[str]:
        axes, stated = self._axes[name], self._stated[name] or ()
        channels = -1
        if len(stated) >= 4:
            channels = 3 if len(stated) == 4 and image_layout(stated) == "nhwc" else 1
        sides = [s for k, s in enumerate(axes) if k != channels and s and s in self.open]
        return [s for s in dict.fromkeys(sides) if s not in self._batch]

    def _extents(self, shapes: Shapes) -> dict[str, int]:
        """The extent of each symbol."""
        pairs = [zip(axes, shapes[name], strict=True) for name, axes in self._axes.items()]
        return {s: n for s, n in chain(*pairs) if s}

    def _with(self, start: Shapes, sizes: Mapping[str, int]) -> Shapes:
        """The shapes with other extents, by symbol."""
        return {
            name: tuple(
                sizes.get(s, n) if s else n
                for s, n in zip(self._axes.get(name, (None,) * len(shape)), shape, strict=True)
            )
            for name, shape in start.items()
        }


def _scaled(sides: Sequence[int], need: Need, images: float) -> Iterator[tuple[int, ...]]:
    """Sides at which as many numbers come as are wanted: squares, by area and by side.

    ``images`` is what comes of one image, as a share of what came before.
    """
    ratio = need.want / need.have * images
    for share in dict.fromkeys((1 / len(sides), 1.0)):
        for side, step in product(sides, _STEPS):
            yield (max(step, round(side * ratio**share / step) * step),) * len(sides)
