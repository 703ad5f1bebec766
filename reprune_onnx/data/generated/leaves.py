"""Dead leaves: shapes of all sizes that hide each other, with colour, shading and texture."""

from __future__ import annotations

import numpy as np

from reprune_onnx.data.generated.arithmetic import Space, along, between, grid, rarely, rotation
from reprune_onnx.data.generated.colours import palette
from reprune_onnx.data.generated.noise import spectrum
from reprune_onnx.types import Floats

_SIDE = 32  # pixels; in larger images leaves grow, as things in larger photographs do
_FEWEST, _MOST = 5, 60


def leaves(rng: np.random.Generator, channels: int, space: Space) -> Floats:
    """Return an image (c, *space) of leaves, the last one on top.

    A radius r has a density of r^(-7/3), in pixels from 1 on: few leaves hide much, and many show.
    """
    colours = palette(rng, channels)
    ground = colours.draw(rng).reshape(-1, *[1] * len(space))
    image: Floats = np.broadcast_to(ground, (channels, *space)).copy()
    texture = spectrum(rng, channels, space)
    image += between(rng, 0, 0.2) * texture
    larger = max(1.0, max(space) / _SIDE)
    zoom = 1 + rarely(rng) * (larger - 1)
    for _ in range(int(rng.integers(_FEWEST, _MOST) * (1 + larger) / 2)):
        u = 1 - rng.random()
        radius = min(max(space) / 1.5, zoom * (1.5 / np.sqrt(u * np.sqrt(u)) - 0.5))
        _paint(image, texture, rng, (colours.draw(rng), radius))
    return image


def _paint(
    image: Floats, texture: Floats, rng: np.random.Generator, leaf: tuple[Floats, float]
) -> None:
    """Paint one leaf over the image: a ball, an ellipsoid or a box, its edge one pixel soft."""
    colour, radius = leaf
    space, d = image.shape[1:], image.ndim - 1
    centre = rng.random(d) * space
    kind, turn = int(rng.integers(0, 3)), rotation(rng, d)
    narrow = 0.2 + 0.8 * rng.random(d)
    narrow[0] = 1.0
    rough, shade = between(rng, 0, 0.5), between(rng, -0.3, 0.3)
    reach = radius * float(np.sqrt(d)) + 1
    low = tuple(int(max(0, np.floor(c - reach))) for c in centre)
    high = tuple(int(min(n, np.ceil(c + reach) + 1)) for c, n in zip(centre, space, strict=True))
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return
    axes = grid(low, high, centre)
    turned = [along(row, axes) for row in turn]
    inside = _SHAPES[kind](turned, radius, narrow)
    cover = np.clip(inside + 0.5, 0, 1)
    at = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
    fill = (
        colour.reshape(-1, *[1] * d) * (1 + shade * turned[0] / radius) + 0.3 * rough * texture[at]
    )
    image[at] += cover * (fill - image[at])


def _ball(turned: list[Floats], radius: float, _: Floats) -> Floats:
    return radius - _length(turned)


def _ellipsoid(turned: list[Floats], radius: float, narrow: Floats) -> Floats:
    scaled = [t / n for t, n in zip(turned, narrow, strict=True)]
    inside: Floats = (radius - _length(scaled)) * float(narrow.min())
    return inside


def _box(turned: list[Floats], radius: float, narrow: Floats) -> Floats:
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
