"""What every kind of data is before preprocessing: a source of raw batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.errors import DataError
from reprune_onnx.types import Ints

Raw = NDArray[np.generic]


@dataclass(frozen=True)
class RawBatch:
    """b images as they were stored.

    ``x`` is an array (b, c, h, w) or (b, h, w, c), or, from image files, b images (h, w, c) uint8
    of their own sizes, decoded one at a time as they are asked for. ``y (b,)`` are the labels,
    ``names (b,)`` what messages call the images.
    """

    x: Raw | Iterable[Raw]
    y: Ints | None
    names: tuple[str, ...]


class Source(Protocol):
    """Data that can be read from the start any number of times."""

    @property
    def name(self) -> str:
        """What messages call the data."""

    @property
    def size(self) -> int | None:
        """The number of images; ``None`` where only reading them all would tell."""

    @property
    def labels(self) -> Ints | None:
        """All labels (n,), where there are any and they are known before reading."""

    def take(self, n: int, rng: np.random.Generator | None) -> Source:
        """Return ``n`` of the images, or all where there are fewer."""

    def at(self, positions: Ints) -> Source:
        """Return the images at ``positions``, in that order; not of a Python loader."""

    def batches(self, size: int) -> Iterator[RawBatch]:
        """Yield the images in order, ``size`` at a time; the last batch may be smaller."""


def pick(total: int, n: int, rng: np.random.Generator | None) -> Ints:
    """Return min(n, total) of ``range(total)``, ascending: drawn by ``rng``, else evenly spread.

    >>> pick(10, 4, None).tolist()
    [0, 2, 5, 7]
    """
    if n >= total:
        return np.arange(total)
    if rng is None:
        return np.arange(n) * total // n
    return np.sort(rng.choice(total, n, replace=False))


def clean_labels(y: Raw, n: int, name: str) -> Ints:
    """Return labels as (n,) int64; DataError where they are not n class numbers."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(
            f"{name}: labels of shape {y.shape} have rank {y.ndim}, not 1; give one class number "
            "per image (of one-hot labels, y.argmax(1))"
        )
    if len(y) != n:
        raise DataError(f"{name}: {n} images but {len(y)} labels; give one label per image")
    if y.dtype.kind not in "iuf":
        raise DataError(f"{name}: labels of type {y.dtype}; give class numbers from 0, as integers")
    with np.errstate(invalid="ignore"):
        labels = y.astype(np.int64)
    wrong = np.flatnonzero((labels != y) | (labels < 0))
    if len(wrong):
        raise DataError(
            f"{name}: label {y[wrong[0]]} of image {wrong[0]} is not a class number; "
            "labels are whole numbers from 0"
        )
    return labels
