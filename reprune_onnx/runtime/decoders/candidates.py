"""Boxes before non-maximum suppression, and the form of a decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.types import Floats, Ints

Outputs = Mapping[str, NDArray[Any]]
"""A model's outputs for one image by name, without the axis of the batch, in the model's order."""
Sides = tuple[int, int]
"""Height and width of the model's input."""
_PYRAMIDS = ((8, 16, 32), (8, 16, 32, 64), (16, 32))
_STRIDES = (8, 16, 32, 64)


@dataclass(frozen=True)
class Candidates:
    """``boxes (n, 4)``: x1, y1, x2, y2 in pixels of the input; ``scores (n, classes)``.

    ``final`` are those that need no suppression, as the model has done it.
    """

    boxes: Floats
    scores: Floats
    final: bool = False


@dataclass(frozen=True)
class Decoder:
    """``decode`` of the outputs of a family ``name``, and whether they may be ``of`` it."""

    name: str
    of: Callable[[Outputs, Sides], bool]
    decode: Callable[[Outputs, Sides], Candidates]


def corners(centres: Floats, extents: Floats) -> Floats:
    """Boxes (n, 4) around centres (n, 2) as x, y with extents (n, 2) as w, h."""
    return np.concatenate([centres - extents / 2, centres + extents / 2], axis=1)


def cells(sides: Sides, strides: tuple[int, ...]) -> tuple[Floats, Floats]:
    """The cells of grids, row by row, one stride after the other.

    Their columns and rows (n, 2), and the stride of each (n, 1).
    """
    places, steps = [], []
    for stride in strides:
        rows, columns = np.indices((sides[0] // stride, sides[1] // stride))
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64))
        steps.append(np.full((rows.size, 1), float(stride)))
    return np.concatenate(places), np.concatenate(steps)


def strides_of(n: int, sides: Sides, each: int = 1) -> tuple[int, ...] | None:
    """The usual strides whose grids together have ``n`` cells, ``each`` times; None if none do."""
    return next((s for s in _PYRAMIDS if n == each * _cells(sides, s)), None)


def stride_of(n: int, sides: Sides, each: int = 1) -> int | None:
    """The stride whose grid alone has ``n`` cells, ``each`` times; None where none has."""
    return next((s for s in _STRIDES if n == each * _cells(sides, (s,))), None)


def _cells(sides: Sides, strides: tuple[int, ...]) -> int:
    return sum((sides[0] // s) * (sides[1] // s) for s in strides)


def one_hot(labels: Ints, scores: Floats) -> Floats:
    """Scores (n, classes) that are those of each row's label and 0 elsewhere."""
    result = np.zeros((len(labels), int(labels.max(initial=0)) + 1))
    result[np.arange(len(labels)), labels] = scores
    return result
