"""Gradients, edges, gratings, and thin strokes in rows as writing has them."""

from __future__ import annotations

import numpy as np

from reprune_onnx.data.generated.arithmetic import (
    Space,
    along,
    between,
    grid,
    rarely,
    rotation,
    wave,
)
from reprune_onnx.data.generated.colours import palette
from reprune_onnx.data.generated.noise import spectrum
from reprune_onnx.types import Floats

_LINES = 40  # strokes at most


def strokes(rng: np.random.Generator, channels: int, space: Space) -> Floats:
    """Return an image (c, *space): a shaded ground, an edge or a grating, strokes on it."""
    d, side = len(space), max(space)
    axes = grid((0,) * d, space, rng.random(d) * space)
    turn = rotation(rng, d)
    colours = palette(rng, channels)
    colour = colours.draw(rng, 4).reshape(4, -1, *[1] * d)
    ramp = np.clip(0.5 + along(turn[0], axes) / side * between(rng, 0, 1.5), 0, 1)
    image: Floats = colour[0] + ramp * (colour[1] - colour[0])
    across = along(rotation(rng, d)[0], axes)
    share = rng.random() * 0.6
    if rng.random() < 0.5:
        image = image + share * np.clip(across + 0.5, 0, 1) * (colour[2] - image)
    else:
        period = 2 + rarely(rng) * side
        image = image + 0.5 * share * wave(across / period) * (colour[2] - image)
    image = image + between(rng, 0, 0.1) * spectrum(rng, channels, space)
    ink = colour[3]
    step = between(rng, 2, max(4.0, side / 4))
    start = rng.random(d) * space
    for _ in range(int(rng.integers(0, _LINES))):
        _stroke(image, ink, rng, (start, step))
        start = start + turn[0] * step * between(rng, 0.2, 1.2)
        if not all(0 <= x < n for x, n in zip(start, space, strict=True)):
            start = rng.random(d) * space
            if rng.random() < 0.3:
                ink = colours.draw(rng, 1).reshape(-1, *[1] * d)
    return image


def _stroke(
    image: Floats, ink: Floats, rng: np.random.Generator, place: tuple[Floats, float]
) -> None:
    """Draw one straight stroke of a drawn width from a point on."""
    start, step = place
    space, d = image.shape[1:], image.ndim - 1
    direction = rotation(rng, d)[0]
    length, half = step * between(rng, 0.3, 1.5), 0.4 + rarely(rng) * step / 5
    end = start + direction * length
    low = tuple(
        int(max(0, np.floor(min(a, b) - half - 1))) for a, b in zip(start, end, strict=True)
    )
    high = tuple(
        int(min(n, np.ceil(max(a, b) + half + 2)))
        for a, b, n in zip(start, end, space, strict=True)
    )
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return
    axes = grid(low, high, start)
    t = np.clip(along(direction, axes), 0, length)
    square = np.zeros(())
    for x, u in zip(axes, direction, strict=True):
        off = x - t * u
        square = square + off * off
    cover = np.clip(half + 0.5 - np.sqrt(square), 0, 1)
    at = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
    image[at] += cover * (ink - image[at])
