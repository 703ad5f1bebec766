"""Training data: images by number, so that every epoch's order is drawn, and drawn again alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as ByNumber

from reprune_onnx.data.dataset import Dataset
from reprune_onnx.data.images import ImageSource
from reprune_onnx.data.source import Answers, Feed, each_of, of_each, rows
from reprune_onnx.data.target import ArrayTarget
from reprune_onnx.errors import DataError
from reprune_onnx.training.inputs import Inputs, joined, picked
from reprune_onnx.types import Ints
from reprune_onnx.watch import Progress

Pair = tuple[Inputs, "Tensor | None"]

MEMORY = 2 * 2**30
"""Bytes of fitted images that are held in memory; more are decoded batch by batch."""


class Examples(Protocol):
    """Images that can be had in any order."""

    @property
    def name(self) -> str:
        """The name of the data in messages."""

    @property
    def labelled(self) -> bool:
        """Whether every image has labels."""

    def __len__(self) -> int:
        """Return the number of images."""

    def batches(self, order: Sequence[Ints], workers: int) -> Iterator[Pair]:
        """Yield ``(x, y)`` of each of the index arrays ``order``."""

    def targets(self, index: Ints | None = None) -> Iterator[Tensor]:
        """Yield the labels (b, …) of the images ``index``, or of all, without the images."""


@dataclass
class HeldExamples:
    """Fitted images ``x (n, ·, ·, ·)``, or other arrays (n, …), and labels ``(n, …)``."""

    name: str
    x: Inputs
    labels: Tensor | None

    @property
    def labelled(self) -> bool:
        """Whether every image has labels."""
        return self.labels is not None

    def __len__(self) -> int:
        return rows(self.x)

    def batches(self, order: Sequence[Ints], workers: int) -> Iterator[Pair]:
        """Yield ``(x, y)`` of each of the index arrays ``order``; no workers are needed."""
        del workers
        for index in order:
            at = torch.from_numpy(index)
            yield picked(self.x, at), None if self.labels is None else self.labels[at]

    def targets(self, index: Ints | None = None) -> Iterator[Tensor]:
        """Yield the labels of the images ``index``, or of all."""
        if self.labels is not None:
            yield self.labels if index is None else self.labels[torch.from_numpy(index)]


@dataclass
class OnDisk(ByNumber[Pair]):
    """Images that are read, decoded and fitted as they are asked for."""

    name: str
    dataset: Dataset
    labelled: bool

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Ints) -> Pair:
        """Return a batch: what PyTorch's loader asks a worker for."""
        x, y = next(self._part(index).batches(len(index)))
        return _input(x, self.dataset), _tensor(y)

    def _part(self, index: Ints) -> Dataset:
        return replace(self.dataset, source=self.dataset.source.at(index))

    def batches(self, order: Sequence[Ints], workers: int) -> Iterator[Pair]:
        """Yield ``(x, y)`` of each of the index arrays ``order``, decoded by ``workers``."""
        loader: DataLoader[Pair] = DataLoader(
            self, batch_size=None, sampler=list(order), num_workers=workers
        )
        yield from loader

    def targets(self, index: Ints | None = None) -> Iterator[Tensor]:
        """Yield the labels of the images ``index``, or of all."""
        data = self.dataset if index is None else self._part(index)
        for y in data.targets():
            yield torch.from_numpy(np.ascontiguousarray(y))


@dataclass
class Subset:
    """Some of ``examples``: those with the numbers ``index (n,)``."""

    examples: Examples
    index: Ints

    @property
    def name(self) -> str:
        """The name of the data in messages."""
        return self.examples.name

    @property
    def labelled(self) -> bool:
        """Whether every image has labels."""
        return self.examples.labelled

    def __len__(self) -> int:
        return len(self.index)

    def batches(self, order: Sequence[Ints], workers: int) -> Iterator[Pair]:
        """Yield ``(x, y)`` of each of the index arrays ``order``, which count within the part."""
        return self.examples.batches([self.index[numbers] for numbers in order], workers)

    def targets(self, index: Ints | None = None) -> Iterator[Tensor]:
        """Yield the labels of these images, or of those with the numbers ``index`` among them."""
        return self.examples.targets(self.index if index is None else self.index[index])


def read_examples(data: Dataset, progress: Progress | None = None) -> Examples:
    """Read ``data`` into memory where it fits there; otherwise look into every file.

    Raises DataError, naming the image, for one that cannot be read: before anything is trained.
    """
    first, label = next(data.batches(1))
    size = sum(array[0].size * max(4, array.itemsize) for array in each_of(first))
    n = data.size
    if n is None or n * (size + (0 if label is None else label.nbytes)) <= MEMORY:
        return _read(data, progress)
    if isinstance(data.source, ImageSource):
        for k in range(len(data.source.files)):
            data.source.check(k)
            if progress is not None:
                progress("checking images", k + 1, n)
    return OnDisk(data.name, data, label is not None)


def _read(data: Dataset, progress: Progress | None) -> HeldExamples:
    xs: list[Inputs] = []
    ys: list[Answers] = []
    done, held = 0, 0
    for x, y in data.batches():
        xs.append(_input(x, data))
        held += sum(tensor.nbytes for tensor in each_of(xs[-1]))
        if held > MEMORY:
            raise DataError(
                f"{data.name}: a Python loader's images must fit into {MEMORY >> 30} GiB of memory"
                f" ({done} images already do not): give a folder of images, or fewer of them"
            )
        ys.extend([y] if y is not None else [])
        done += rows(x)
        if progress is not None:
            progress("reading images", done, data.size or done)
    if not done:
        raise DataError(f"{data.name} holds no images; give at least one")
    all_labelled = len(ys) == len(xs)
    return HeldExamples(data.name, joined(xs), _tensor(_joined(ys, data) if all_labelled else None))


def _joined(labels: list[Answers], data: Dataset) -> Answers:
    shapes = {y.shape[1:] for y in labels}
    if len(shapes) > 1:
        one, other = sorted(shapes)[:2]
        raise DataError(
            f"{data.name}: labels of shapes {one} and {other}; give labels of one shape, or of"
            " masks the size of the images with --preprocess size=…;crop=…"
        )
    return np.concatenate(labels)


def _input(x: Feed, data: Dataset) -> Inputs:
    """The input of a network in training: images as floats, integers of other inputs unchanged."""

    def tensor_of(array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        integers = isinstance(data.target, ArrayTarget) and not tensor.is_floating_point()
        return tensor if integers else tensor.float()

    return of_each(x, tensor_of)


def _tensor(labels: Answers | None) -> Tensor | None:
    return None if labels is None else torch.from_numpy(np.ascontiguousarray(labels))
