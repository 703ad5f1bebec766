"""Images by formula: the same bytes for the same recipe, on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.data.generated.arithmetic import Space, to_bytes
from reprune_onnx.data.generated.families import FAMILIES, families

AXES = (1, 2, 3)


@dataclass(frozen=True)
class Recipe:
    """A recipe of images: ``channels``, 1 to 3 extents of ``space``, families ``names`` in turn.

    Without names it is the mixture for as many axes. Image i depends on the recipe and i alone.
    """

    channels: int
    space: Space
    seed: int = 0
    names: tuple[str, ...] = ()

    @property
    def mixture(self) -> tuple[str, ...]:
        """The families whose turn it is, one image after the other."""
        return self.names or families(len(self.space))

    @property
    def title(self) -> str:
        """The families in words."""
        return ", ".join(FAMILIES[name].title for name in dict.fromkeys(self.mixture))

    def image(self, i: int) -> NDArray[np.uint8]:
        """Return image ``i``, (c, *space) of 0 to 255."""
        name = self.mixture[i % len(self.mixture)]
        rng = np.random.default_rng([self.seed, i])
        return to_bytes(FAMILIES[name].draw(rng, self.channels, self.space))


def generate(recipe: Recipe, n: int, start: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Yield the images ``start`` to ``start + n - 1`` of a recipe.

    >>> [image.shape for image in generate(Recipe(3, (8, 8)), 2)]
    [(3, 8, 8), (3, 8, 8)]
    """
    for i in range(start, start + n):
        yield recipe.image(i)
