"""Data as a model takes it: preprocessed batches and their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.data.fit import fit, fit_masks
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.data.source import Answers, Source
from reprune_onnx.data.target import Target
from reprune_onnx.errors import UsageError

Batch = tuple[NDArray[np.generic], "Answers | None"]

BATCH_SIZE = 64


@dataclass(frozen=True)
class Dataset:
    """Images fitted to a model's input. Files are read and decoded batch by batch, in order."""

    source: Source
    preprocess: Preprocess
    target: Target

    @property
    def name(self) -> str:
        """What messages call the data."""
        return self.source.name

    @property
    def size(self) -> int | None:
        """The number of images; ``None`` for a Python loader, which only a pass would tell."""
        return self.source.size

    def __len__(self) -> int:
        """Return the number of images; of a Python loader, by a pass over it."""
        if self.source.size is not None:
            return self.source.size
        return sum(len(batch.names) for batch in self.source.batches(BATCH_SIZE))

    @property
    def labels(self) -> Answers | None:
        """All labels (n,); ``None`` without labels, and for a loader, whose batches have them."""
        return self.source.labels

    @property
    def unused(self) -> str | None:
        """Why labels that are there are not used, where they are not needed; else None."""
        return self.source.unused

    def take(self, n: int, rng: np.random.Generator | None = None) -> Dataset:
        """Return ``n`` of the images, or all where there are fewer.

        They are drawn by ``rng``, or evenly spread over the data without it (so that sorted classes
        all occur); of a loader they are the first ``n``.
        """
        if n < 1:
            raise UsageError(f"{n} images of {self.name}; take at least 1")
        return replace(self, source=self.source.take(n, rng))

    def batches(self, size: int = BATCH_SIZE) -> Iterator[Batch]:
        """Yield ``(x, y)``: ``x (b, c, h, w)`` or (b, h, w, c), in the model's layout and type.

        ``y (b, …)`` are the labels, classes (b,) in int64, or None. b is ``size`` or less.
        """
        for batch in self.source.batches(size):
            how = self.preprocess, self.target, self.name
            yield fit(batch, *how), fit_masks(batch, *how)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()
