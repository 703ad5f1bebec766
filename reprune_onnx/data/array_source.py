"""Samples that lie in arrays: of a file, or of the caller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from reprune_onnx.data.source import Answers, Feed, RawBatch, of_each, pick
from reprune_onnx.note import Note
from reprune_onnx.types import Ints


@dataclass(frozen=True)
class ArraySource:
    """Samples ``x[index]``, of one array or of several by input, with labels ``y[index]``."""

    name: str
    x: Feed
    y: Answers | None
    index: Ints
    unused: str | None = None
    classes: None = None
    notes: tuple[Note, ...] = ()

    @property
    def size(self) -> int:
        """The number of samples."""
        return len(self.index)

    @property
    def labels(self) -> Answers | None:
        """All labels (n,)."""
        return None if self.y is None else self.y[self.index]

    def first(self) -> ArraySource:
        """Return the first sample."""
        return self.at(np.arange(1))

    def sound(self) -> ArraySource:
        """Return itself: an array is read whole."""
        return self

    def take(self, n: int, rng: np.random.Generator | None) -> ArraySource:
        """Return ``n`` of the samples: drawn by ``rng``, else evenly spread."""
        return self.at(pick(len(self.index), n, rng))

    def at(self, positions: Ints) -> ArraySource:
        """Return the samples at ``positions``, in that order."""
        return replace(self, index=self.index[positions])

    def batches(self, size: int) -> Iterator[RawBatch]:
        """Yield the samples in order."""
        for start in range(0, len(self.index), size):
            at = self.index[start : start + size]
            y = None if self.y is None else self.y[at]
            yield RawBatch(_picked(self.x, at), y, tuple(f"{self.name}[{i}]" for i in at))


def _picked(x: Feed, at: Ints) -> Feed:
    return of_each(x, lambda array: array[at])
