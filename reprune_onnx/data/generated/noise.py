"""Noise with the spectrum 1/fᵃ of photographs, in colours that go together."""

from __future__ import annotations

import numpy as np

from reprune_onnx.data.generated.arithmetic import Space, between, centred, smooth
from reprune_onnx.types import Floats

_VARIANCE = 1 / 3  # of uniform numbers in -1 … 1


def noise(rng: np.random.Generator, channels: int, space: Space) -> Floats:
    """Return an image (c, *space) of noise: a brightness, and some contrast around it."""
    field = spectrum(rng, channels, space)
    return between(rng, 0.3, 0.65) + between(rng, 0.1, 0.32) * field


def spectrum(rng: np.random.Generator, channels: int, space: Space) -> Floats:
    """Return noise (c, *space) of mean 0 and deviation 1 or less, over all images.

    It is a sum of octaves, lattices of random values of 1, 2, 4, … pixels. In d axes an amplitude
    of 1/fᵃ is that each octave deviates 2^(a - d/2) times as much as the next finer one, which is
    drawn. Most of it is brightness, which all channels share.
    """
    ratio = between(rng, 0.85, 1.35)
    colored = between(rng, 0.08, 0.4)
    total: Floats = np.zeros((channels, *space))
    weight, square, cell = 1.0, 0.0, 1
    while cell < 2 * max(space):
        size = [n if cell == 1 else n // cell + 3 for n in space]
        shared = centred(rng, 1, *size)
        lattice = shared
        if channels > 1:
            lattice = 0.85 * shared + colored * centred(rng, channels, *size)
        total = total + weight * (lattice if cell == 1 else smooth(lattice, space, cell, rng))
        square += weight * weight
        weight, cell = weight * ratio, 2 * cell
    return total / float(np.sqrt(_VARIANCE * square))
