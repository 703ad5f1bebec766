"""Signals along one axis: sums of harmonics that fade in and out, and chirps."""

from __future__ import annotations

import numpy as np

from reprune_onnx.data.generated.arithmetic import Space, between, rarely, wave
from reprune_onnx.data.generated.noise import spectrum
from reprune_onnx.types import Floats

_HARMONICS = 8
_EVENTS = 5


def harmonics(rng: np.random.Generator, channels: int, space: Space) -> Floats:
    """Return a signal (c, n): notes of a basic frequency and its multiples, on a little noise."""
    (n,) = space
    x = np.arange(n) / n
    total = between(rng, 0, 0.3) * spectrum(rng, channels, space)
    for _ in range(int(rng.integers(1, _EVENTS))):
        basic = 1 + rarely(rng) * n / 16
        note = np.zeros(n)
        for k in range(1, int(rng.integers(2, _HARMONICS))):
            note = note + rng.random() / k * wave(k * basic * x + rng.random())
        total = total + _level(rng, channels) * note * _envelope(rng, x)
    return 0.5 + 0.35 * total


def chirps(rng: np.random.Generator, channels: int, space: Space) -> Floats:
    """Return a signal (c, n) of tones that rise or fall, on a little noise."""
    (n,) = space
    x = np.arange(n) / n
    total = between(rng, 0, 0.3) * spectrum(rng, channels, space)
    for _ in range(int(rng.integers(1, _EVENTS))):
        first, last = (1 + rarely(rng) * n / 5 for _ in range(2))
        phase = first * x + 0.5 * (last - first) * x * x + rng.random()
        total = total + _level(rng, channels) * wave(phase) * _envelope(rng, x)
    return 0.5 + 0.35 * total


def _level(rng: np.random.Generator, channels: int) -> Floats:
    shared = between(rng, 0.2, 1)
    level: Floats = shared * (0.5 + 0.5 * rng.random((channels, 1)))
    return level


def _envelope(rng: np.random.Generator, x: Floats) -> Floats:
    """A bump between two drawn moments, or all the time."""
    centre, half = rng.random(), between(rng, 0.05, 1.0)
    rest = np.clip(1 - np.abs(x - centre) / half, 0, 1)
    bump: Floats = rest * rest * (3 - 2 * rest)
    return bump
