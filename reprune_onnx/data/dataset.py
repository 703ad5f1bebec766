"""Data as a model takes it: preprocessed batches and their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from reprune_onnx.data.fit import fit, fit_masks
from reprune_onnx.data.fit_arrays import fit_arrays
from reprune_onnx.data.preprocess import Preprocess
from reprune_onnx.data.source import Answers, Feed, RawBatch, Source
from reprune_onnx.data.target import ArrayTarget, ImageTarget
from reprune_onnx.errors import UsageError
from reprune_onnx.note import Note

Batch = tuple[Feed, "Answers | None"]

BATCH_SIZE = 64


@dataclass(frozen=True)
class Dataset:
    """Images, or other samples, fitted to a model's inputs.

    Files are read and decoded batch by batch, in order.
    ``said`` are lines for the user about how they are fitted, ``better`` is the one that names a
    ``--preprocess`` which fits the model better.
    """

    source: Source
    preprocess: Preprocess
    target: ImageTarget | ArrayTarget
    said: tuple[Note, ...] = ()
    better: Note | None = None

    @property
    def name(self) -> str:
        """The name of the data in messages."""
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

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes; ``None`` where labels are mere numbers."""
        return self.source.classes

    @property
    def notes(self) -> tuple[Note, ...]:
        """The lines for the user on the data and on what is done to it."""
        better = () if self.better is None else (self.better,)
        return (*self.source.notes, *self.said, *better)

    def class_count(self, outputs: int) -> str | None:
        """Say that there are fewer or more class folders than ``outputs``; None where all is well.

        Folders in the order of known names may be fewer: these say which outputs they are.
        """
        if self.classes is None or len(self.classes) == outputs:
            return None
        n = len(self.classes)
        both = (
            f"{self.name} has {n} class folders, '{self.classes[0]}' to '{self.classes[-1]}', but"
            f" the model has {outputs} classes"
        )
        if n > outputs:
            return f"{both}: give the folders of these, in the model's order with --classes FILE"
        return (
            f"{both}: folders are taken for outputs 0 to {n - 1} in this order; give all names in"
            " the model's order with --classes FILE"
        )

    def sound(self) -> Dataset:
        """Return the images that can be read, where broken ones are to be left out."""
        return replace(self, source=self.source.sound())

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

        Of a model that takes no images, ``x (b, …)``, or an array for each of several inputs.
        ``y (b, …)`` are the labels, classes (b,) in int64, or None. b is ``size`` or less.
        """
        for batch in self.source.batches(size):
            yield self._fitted(batch), self._labels(batch)

    def targets(self, size: int = BATCH_SIZE) -> Iterator[Answers]:
        """Yield the labels (b, …) as `batches` gives them, without decoding image files."""
        for batch in self.source.batches(size):
            y = self._labels(batch)
            if y is not None:
                yield y

    def _fitted(self, batch: RawBatch) -> Feed:
        if isinstance(self.target, ArrayTarget):
            return fit_arrays(batch, self.target, self.name)
        return fit(batch, self.preprocess, self.target, self.name)

    def _labels(self, batch: RawBatch) -> Answers | None:
        if isinstance(self.target, ArrayTarget):
            return None if batch.y is None else np.asarray(batch.y)
        return fit_masks(batch, self.preprocess, self.target, self.name)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()
