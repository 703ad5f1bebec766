"""Random inputs for a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Port

MOST = 2**27
"""The most numbers of an input: 512 MB in float32, an image of some 6,600 × 6,600."""


def random_inputs(
    inputs: Sequence[Port], shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Return an array of shape ``shapes[name]`` for every one of a session's ``inputs``.

    Normal numbers, or small whole ones where the input is of integers. Raises ModelError where an
    input has no shape, or more than `MOST` numbers.
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
        kind = np.dtype(tensor.dtype).kind
        if kind == "f":
            feeds[tensor.name] = rng.standard_normal(shape).astype(tensor.dtype)
        elif kind == "b":
            feeds[tensor.name] = rng.integers(0, 2, shape).astype(tensor.dtype)
        else:
            top = 256 if np.dtype(tensor.dtype).itemsize == 1 else 2
            feeds[tensor.name] = rng.integers(0, top, shape).astype(tensor.dtype)
    return feeds
