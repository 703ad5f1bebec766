"""Random inputs for a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Port

MOST = 2**27
"""The most numbers of an input: 512 MB in float32, an image of some 6,600 × 6,600."""

_PATCH = 8  # positions on a side of a patch of one colour
_BYTE = 256  # values of an integer of one byte, which an image has all of

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Draw:
    """A way to draw inputs: real numbers, and whole ones from ``least`` to ``most``."""

    name: str
    real: Callable[[np.random.Generator, tuple[int, ...]], Floats]
    least: int
    most: int


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.standard_normal(shape)


def _patches(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Patches of one colour in [0, 1] along all long axes, as images have them, and some noise."""
    coarse = [-(-n // _PATCH) if n > _PATCH else n for n in shape]
    image = rng.uniform(0.1, 0.9, coarse)
    for axis, n in enumerate(shape):
        if n > _PATCH:
            image = image.repeat(_PATCH, axis).take(np.arange(n), axis)
    return image + rng.uniform(-0.1, 0.1, shape)


def _tenth(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.standard_normal(shape) / 10


DRAWS = (
    Draw("N(0, 1)", _normal, 1, 3),
    Draw("patches in [0, 1]", _patches, 1, 1),
    Draw("a tenth of N(0, 1)", _tenth, 0, 0),
)
"""Some models amplify rounding on the first, and are stable where images lie, or on small numbers.

Whole numbers are small and positive, as lengths and tokens are, before they are 0.
"""


def random_inputs(
    inputs: Sequence[Port],
    shapes: Mapping[str, tuple[int, ...]],
    rng: np.random.Generator,
    draw: Draw = DRAWS[0],
) -> dict[str, NDArray[Any]]:
    """Return an array of shape ``shapes[name]`` for every one of a session's ``inputs``.

    Raises ModelError where an input has no shape, or more than `MOST` numbers.
    """
    feeds: dict[str, NDArray[Any]] = {}
    for tensor in inputs:
        if tensor.name not in shapes:
            raise ModelError(
                f"the file does not state the shape of input '{tensor.name}': give it, as in"
                f" --input-shape {tensor.name}=1,3,224,224"
            )
        shape = shapes[tensor.name]
        if math.prod(shape) > MOST:
            raise ModelError(
                f"input '{tensor.name}' of {list(shape)} has {math.prod(shape):,} numbers, more"
                f" than the {MOST:,} that are tried: take a smaller --input-shape or --batch-size"
            )
        dtype = np.dtype(tensor.dtype)
        if dtype.kind == "f":
            feeds[tensor.name] = draw.real(rng, shape).astype(dtype)
        elif dtype.kind == "b":
            feeds[tensor.name] = rng.integers(0, 2, shape).astype(dtype)
        elif dtype.itemsize == 1:
            feeds[tensor.name] = rng.integers(0, _BYTE, shape).astype(dtype)
        else:
            feeds[tensor.name] = rng.integers(draw.least, draw.most + 1, shape).astype(dtype)
    return feeds
