"""Dead leaves: shapes of all sizes that hide each other, with colour, shading and texture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reprune_onnx.data.generated.arithmetic import (
    Space,
    along,
    between,
    centred,
    rarely,
    rotations,
)
from reprune_onnx.data.generated.colours import palette
from reprune_onnx.data.generated.noise import spectrum
from reprune_onnx.types import Floats, Ints

_SIDE = 32  # pixels; in larger images leaves grow, as things in larger photographs do
_FEWEST, _MOST = 5, 60
_AT_ONCE = 1 << 16  # pixels of all leaves whose places are computed together


def leaves(rng: np.random.Generator, channels: int, space: Space) -> Floats:
    """Return an image (c, *space) of leaves, the last one on top.

    A radius r has a density of r^(-7/3), in pixels from 1 on: few leaves hide much, and many show.
    """
    d, colours = len(space), palette(rng, channels)
    image: Floats = np.broadcast_to(colours.draw(rng, 1), (*space, channels)).copy()
    image = np.moveaxis(image, -1, 0)
    texture = spectrum(rng, channels, space)
    image += between(rng, 0, 0.2) * texture
    larger = max(1.0, max(space) / _SIDE)
    zoom = 1 + rarely(rng) * (larger - 1)
    n = int(rng.integers(_FEWEST, _MOST) * (1 + larger) / 2)
    u = 1 - rng.random(n)
    narrow = 0.2 + 0.8 * rng.random((n, d))
    narrow[:, 0] = 1.0
    fallen = _Leaves(
        np.minimum(max(space) / 1.5, zoom * (1.5 / np.sqrt(u * np.sqrt(u)) - 0.5)),
        rng.random((n, d)) * space,
        rotations(rng, n, d),
        narrow,
        rng.integers(0, len(_SHAPES), n),
    )
    colour = colours.draw(rng, n).reshape(n, channels, *[1] * d)
    rough, shade = 0.15 * rng.random(n), 0.3 * centred(rng, n) / fallen.radius
    for k, at, cover, across in fallen.places(space):
        fill = colour[k] * (1 + shade[k] * across) + rough[k] * texture[at]
        image[at] += cover * (fill - image[at])
    return image


@dataclass(frozen=True)
class _Leaves:
    """n leaves: ``radius (n,)``, ``centre (n, d)``, ``turn (n, d, d)``, ``narrow (n, d)``.

    A ``shape (n,)`` is the place of a ball, an ellipsoid or a box in `_SHAPES`.
    """

    radius: Floats
    centre: Floats
    turn: Floats
    narrow: Floats
    shape: Ints

    def places(self, space: Space) -> Iterator[tuple[int, tuple[slice, ...], Floats, Floats]]:
        """Yield each leaf that shows, its box, how far it covers it, and pixels across it.

        Its edge is one pixel soft. Small ones of one image share a box, which saves calls.
        """
        reach = self.radius * float(np.sqrt(len(space))) + 1
        low = np.floor(np.clip(self.centre - reach[:, None], 0, None)).astype(np.int64)
        high = np.ceil(np.minimum(self.centre + reach[:, None] + 1, space)).astype(np.int64)
        step = max(1, _AT_ONCE // int(np.array(space).prod()))
        for start in range(0, len(self.radius), step):
            some = slice(start, start + step)
            first, last = low[some].min(axis=0), high[some].max(axis=0)
            inside, across = self._inside(some, (tuple(first), tuple(last)))
            cover = np.clip(inside + 0.5, 0, 1)
            for k in range(len(cover)):
                box = low[start + k], high[start + k]
                at = tuple(slice(a, b) for a, b in zip(*box, strict=True))
                inner = tuple(slice(a - f, b - f) for a, b, f in zip(*box, first, strict=True))
                yield start + k, (slice(None), *at), cover[k][inner], across[k][inner]

    def _inside(self, some: slice, box: tuple[Space, Space]) -> tuple[Floats, Floats]:
        """Pixels from the edge inwards (m, *box) of some leaves, and along their first axis."""
        d = self.centre.shape[1]
        broad = (-1, *[1] * d)
        axes = tuple(
            np.arange(a, b).reshape([-1 if i == axis else 1 for i in range(-1, d)])
            - self.centre[some, axis].reshape(broad)
            for axis, (a, b) in enumerate(zip(*box, strict=True))
        )
        turned = [
            along(row, axes) for row in np.moveaxis(self.turn[some], 0, -1).reshape(d, d, *broad)
        ]
        radius = self.radius[some].reshape(broad)
        narrow = [x.reshape(broad) for x in np.moveaxis(self.narrow[some], 1, 0)]
        inside = np.zeros(np.broadcast_shapes(*(x.shape for x in axes)))
        for kind, shape in enumerate(_SHAPES):
            of_kind = self.shape[some] == kind
            inside[of_kind] = shape(
                [t[of_kind] for t in turned], radius[of_kind], [x[of_kind] for x in narrow]
            )
        return inside, turned[0]


def _ball(turned: list[Floats], radius: Floats, _: list[Floats]) -> Floats:
    return radius - _length(turned)


def _ellipsoid(turned: list[Floats], radius: Floats, narrow: list[Floats]) -> Floats:
    scaled = [t / n for t, n in zip(turned, narrow, strict=True)]
    least = narrow[0]
    for n in narrow[1:]:
        least = np.minimum(least, n)
    return (radius - _length(scaled)) * least


def _box(turned: list[Floats], radius: Floats, narrow: list[Floats]) -> Floats:
    inside: Floats = radius * narrow[0] - np.abs(turned[0])
    for t, n in zip(turned[1:], narrow[1:], strict=True):
        inside = np.minimum(inside, radius * n - np.abs(t))
    return inside


_SHAPES = (_ball, _ellipsoid, _box)  # pixels from the edge inwards


def _length(turned: list[Floats]) -> Floats:
    square = turned[0] * turned[0]
    for t in turned[1:]:
        square = square + t * t
    length: Floats = np.sqrt(square)
    return length
