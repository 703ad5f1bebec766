"""The sizes that are worth a try where others do not fit, those that a node leads to first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, product
from math import isqrt, prod

import onnx

from reprune_onnx.shapes import image_layout, stated_shapes, symbols
from reprune_onnx.sizes.common_sizes import FRAMES, common_sizes
from reprune_onnx.sizes.need import Need
from reprune_onnx.sizes.needs import BESIDE_EACH_OTHER, constants_of, integers

Shapes = dict[str, tuple[int, ...]]

_BATCHES = (2, 4, 8, 16, 32, 3)
_MOST_IMAGES = 64
_HALVED = 64  # a side of so many positions is halved to see what follows from it, others doubled
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

    def small(self, start: Shapes) -> Shapes:
        """The shapes with the smallest common sides."""
        side = next(common_sizes(1, 4))[0]
        return self._with(start, dict.fromkeys(self._every, side))

    def smaller(self, start: Shapes) -> Iterator[Shapes]:
        """Yield the shapes with sides halved, and halved again."""
        extents = self._extents(start)
        divisor = 2
        while divisor <= max((extents[s] for s in self._every), default=0):
            yield self._with(start, {s: max(extents[s] // divisor, 1) for s in self._every})
            divisor *= 2

    def changed(self, start: Shapes) -> Iterator[tuple[str, Shapes]]:
        """Yield each open symbol, and ``start`` with another extent of it alone."""
        extents = self._extents(start)
        if self._batch:
            images = 2 * self._images(start)
            yield self._batch[0], self._with(start, dict.fromkeys(self._batch, images))
        for side in self._every:
            n = extents[side]
            yield side, self._with(start, {side: n // 2 if n >= _HALVED else 2 * n})

    def around(self, start: Shapes, need: Need, moving: Collection[str]) -> Iterator[Shapes]:
        """Yield shapes to try from ``start``, at which ``need`` is not met.

        First those that the numbers of the need lead to by the symbols that are ``moving`` it, with
        the batches that are assumed or that a node states; from the assumed shapes on common sizes
        too. Batches that nothing states come behind all of these, but where only runs tell what
        fits, of which there are few.
        """
        stated, guessed = self._batches(start, need)
        by_images = bool(self._batch) and self._batch[0] in moving
        exact = self._exact(start, need, moving) if by_images else ()
        if by_images and not set(self._every) & set(moving):
            yield from exact
        yield from self._led(start, need, moving, stated)
        if need.known and start == self._assumed:
            yield from self.common(start, stated)
        yield from exact
        yield from self._led(start, need, moving, guessed)
        if not need.known and start == self._assumed:
            yield from self.common(start, stated)

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

    def _led(
        self, start: Shapes, need: Need, moving: Collection[str], batches: Sequence[int]
    ) -> Iterator[Shapes]:
        """Sizes at which a node gets as much as it wants, by a batch and by a group of sides."""
        extents, batch = self._extents(start), self._images(start)
        by_images = bool(self._batch) and self._batch[0] in moving
        for n in batches:
            images = dict.fromkeys(self._batch, n)
            for group in self._groups if need.have and need.want else ():
                sides = [extents[s] for s in group if s in moving]
                ratio = need.want / need.have * (batch / n if by_images else 1)
                for side in _scaled(sides, ratio):
                    yield self._with(start, images | dict.fromkeys(group, side))
        for n in batches:
            yield self._with(start, dict.fromkeys(self._batch, n))

    def _exact(self, start: Shapes, need: Need, moving: Collection[str]) -> Iterator[Shapes]:
        """Numbers of images with which sides, all alike, make just what a node wants."""
        if not need.have or not need.want:
            return
        extents, sides = self._extents(start), [s for s in self._every if s in moving]
        whole = prod(extents[s] for s in sides) * self._images(start) * need.want
        for n in range(1, _MOST_IMAGES + 1):
            area, rest = divmod(whole, need.have * n)
            side = round(area ** (1 / max(len(sides), 1)))
            if not rest and side ** len(sides) == area:
                alike = dict.fromkeys(self._every if sides else (), side)
                yield self._with(start, dict.fromkeys(self._batch, n) | alike)

    def common(self, start: Shapes, batches: Sequence[int] = (1,)) -> Iterator[Shapes]:
        """Yield sides that stand in the graph, times strides, and that inputs often have."""
        rank, sides = len(start[self.first]), self._sides[self.first]
        alike = [other for other in self._sides.values() if len(other) == len(sides)]
        for n, stride, images in product(self._numbers, _STRIDES, batches):
            yield self._with(
                start, dict.fromkeys(self._batch, images) | dict.fromkeys(self._every, n * stride)
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
            root = isqrt(area) if area <= _LARGE**2 else 0
            for a in (a for a in range(root, root // 8, -1) if area % a == 0):
                for ends in ((a, area // a), (area // a, a)):
                    images = dict.fromkeys(self._batch, n)
                    yield self._with(start, images | dict(zip(sides, ends, strict=True)))

    def _alone(self, start: Shapes) -> Iterator[Shapes]:
        """Each side alone, over numbers of the graph times strides, and small ones."""
        numbers = sorted({n * stride for n, stride in product(self._numbers, _STRIDES)})
        for n, side in product(dict.fromkeys((*range(1, 17), *numbers)), self._every):
            yield self._with(start, {side: n})

    @cached_property
    def _every(self) -> list[str]:
        """The sides of all inputs."""
        return list(dict.fromkeys(chain(*self._sides.values())))

    @cached_property
    def _groups(self) -> list[list[str]]:
        """Sides that are led to together: those of all inputs, those of one, and each."""
        groups = [self._every, *self._sides.values(), *([s] for s in self._every)]
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


def _scaled(sides: Sequence[int], ratio: float) -> Iterator[int]:
    """The side at which ``ratio`` times as much comes, if all are alike: by all, or by one."""
    for share in dict.fromkeys((1 / max(len(sides), 1), 1.0)):
        for side, step in product(sides, _STEPS):
            yield max(step, round(side * ratio**share / step) * step)
