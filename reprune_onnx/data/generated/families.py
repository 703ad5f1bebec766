"""The families of generated images, by name, and which of them are mixed for how many axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reprune_onnx.data.generated.arithmetic import Space
from reprune_onnx.data.generated.leaves import leaves
from reprune_onnx.data.generated.noise import noise
from reprune_onnx.data.generated.signals import chirps, harmonics
from reprune_onnx.data.generated.strokes import strokes
from reprune_onnx.types import Floats

Draw = Callable[[np.random.Generator, int, Space], Floats]


@dataclass(frozen=True)
class Family:
    """``draw(rng, channels, space)`` makes one image (c, *space) with values around 0 to 1.

    ``turns`` is how many images of a mixture are of this family, by the number of axes.
    """

    draw: Draw
    title: str
    turns: dict[int, int]


FAMILIES = {
    "leaves": Family(leaves, "dead leaves", {1: 1, 2: 2, 3: 1}),
    "noise": Family(noise, "1/f noise", {1: 1, 2: 1, 3: 1}),
    "strokes": Family(strokes, "strokes", {2: 1, 3: 1}),
    "harmonics": Family(harmonics, "harmonics", {1: 1}),
    "chirps": Family(chirps, "chirps", {1: 1}),
}


def families(axes: int) -> tuple[str, ...]:
    """The names of a mixture for so many axes of space, as often as it takes turns with them.

    >>> families(2)
    ('leaves', 'noise', 'strokes', 'leaves')
    """
    most = max(family.turns.get(axes, 0) for family in FAMILIES.values())
    return tuple(
        name
        for turn in range(most)
        for name, family in FAMILIES.items()
        if turn < family.turns.get(axes, 0)
    )
