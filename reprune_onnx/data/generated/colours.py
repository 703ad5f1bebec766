"""Colours that go together: things differ in brightness more than in hue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reprune_onnx.data.generated.arithmetic import between, centred, rarely
from reprune_onnx.types import Floats


@dataclass(frozen=True)
class Palette:
    """Colours around a ``middle`` (c,): brightness varies by ``spread``, channels by ``hue``."""

    middle: Floats
    spread: float
    hue: float

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Return n colours (n, c)."""
        brightness = _bell(rng, n, 1) * self.spread
        hues = _bell(rng, n, len(self.middle)) * self.hue
        return np.clip(self.middle + brightness + hues, 0, 1)


def palette(rng: np.random.Generator, channels: int) -> Palette:
    """Draw what colours an image has: some are gray, few are gaudy."""
    hue = 0.3 * rarely(rng) if channels > 1 else 0.0
    middle = np.clip(0.47 + 0.17 * _bell(rng, 1, 1)[0] + hue * _bell(rng, 1, channels)[0], 0, 1)
    return Palette(middle, between(rng, 0.08, 0.3), hue)


def _bell(rng: np.random.Generator, *shape: int) -> Floats:
    """Draw numbers of mean 0 and deviation 1, near to normal: sums of three uniform ones."""
    u = centred(rng, 3, *shape)
    bell: Floats = u[0] + u[1] + u[2]
    return bell
