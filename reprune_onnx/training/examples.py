"""Training data: images by number, so that every epoch's order is drawn, and drawn again alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as ByNumber

from reprune_onnx.data.dataset import Dataset
from reprune_onnx.data.images import ImageSource, decode
from reprune_onnx.data.source import Answers
from reprune_onnx.errors import DataError
from reprune_onnx.types import Ints
from reprune_onnx.watch import Progress

Pair = tuple[Tensor, "Tensor | None"]

MEMORY = 2 * 2**30
"""Bytes of fitted images that are held in memory; more are decoded batch by batch."""


class Examples(Protocol):
    """Images that can be had in any order."""

    @property
    def name(self) -> str:
        """What messages call the data."""

    @property
    def labels(self) -> Tensor | None:
        """The labels (n,), None where there are none."""

    def __len__(self) -> int:
        """Return the number of images."""

    def batches(self, order: Sequence[Ints], workers: int) -> Iterator[Pair]:
        """Yield ``(x, y)`` of each of the index arrays ``order``."""


@dataclass
class InMemory:
    """Fitted images ``x (n, ·, ·, ·)`` and labels ``(n,)``."""

    name: str
    x: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, order: Sequence[Ints], workers: int) -> Iterator[Pair]:
        """Yield ``(x, y)`` of each of the index arrays ``order``; no workers are needed."""
        del workers
        for index in order:
            at = torch.from_numpy(index)
            yield self.x[at], None if self.labels is None else self.labels[at]


@dataclass
class OnDisk(ByNumber[Pair]):
    """Images that are read, decoded and fitted as they are asked for."""

    name: str
    dataset: Dataset
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Ints) -> Pair:
        """Return a batch: what PyTorch's loader asks a worker for."""
        part = replace(self.dataset, source=self.dataset.source.at(index))
        x = next(part.batches(len(index)))[0]
        at = torch.from_numpy(index)
        return torch.from_numpy(x).float(), None if self.labels is None else self.labels[at]

    def batches(self, order: Sequence[Ints], workers: int) -> Iterator[Pair]:
        """Yield ``(x, y)`` of each of the index arrays ``order``, decoded by ``workers``."""
        loader: DataLoader[Pair] = DataLoader(
            self, batch_size=None, sampler=list(order), num_workers=workers
        )
        yield from loader


@dataclass
class Part:
    """Some of ``whole``: those with the numbers ``index (n,)``."""

    whole: Examples
    index: Ints

    @property
    def name(self) -> str:
        """What messages call the data."""
        return self.whole.name

    @property
    def labels(self) -> Tensor | None:
        """The labels (n,) of these images, None where there are none."""
        return None if self.whole.labels is None else self.whole.labels[self.index]

    def __len__(self) -> int:
        return len(self.index)

    def batches(self, order: Sequence[Ints], workers: int) -> Iterator[Pair]:
        """Yield ``(x, y)`` of each of the index arrays ``order``, which count within the part."""
        return self.whole.batches([self.index[numbers] for numbers in order], workers)


def read_examples(data: Dataset, progress: Progress | None = None) -> Examples:
    """Read ``data`` into memory where it fits there; otherwise look into every file.

    Raises DataError, naming the image, for one that cannot be read: before anything is trained.
    """
    first = next(data.batches(1))[0]
    n = data.size
    if n is None or n * first[0].size * 4 <= MEMORY:
        return _read(data, progress)
    if isinstance(data.source, ImageSource):
        for k, file in enumerate(data.source.files):
            decode(file, data.source.mode)
            if progress is not None:
                progress("checking images", k + 1, n)
    return OnDisk(data.name, data, _tensor(data.labels))


def _read(data: Dataset, progress: Progress | None) -> InMemory:
    xs: list[Tensor] = []
    ys: list[Answers] = []
    done, held = 0, 0
    for x, y in data.batches():
        xs.append(torch.from_numpy(np.ascontiguousarray(x)).float())
        held += xs[-1].nbytes
        if held > MEMORY:
            raise DataError(
                f"{data.name}: a Python loader's images must fit into {MEMORY >> 30} GiB of memory"
                f" ({done} images already do not): give a folder of images, or fewer of them"
            )
        ys.extend([y] if y is not None else [])
        done += len(x)
        if progress is not None:
            progress("reading images", done, data.size or done)
    if not done:
        raise DataError(f"{data.name} holds no images; give at least one")
    all_labelled = len(ys) == len(xs)
    return InMemory(data.name, torch.cat(xs), _tensor(np.concatenate(ys) if all_labelled else None))


def _tensor(labels: Answers | None) -> Tensor | None:
    return None if labels is None else torch.from_numpy(np.ascontiguousarray(labels))
