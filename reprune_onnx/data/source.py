"""The form of every kind of data before it is fitted: a source of raw batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.note import Note
from reprune_onnx.types import Ints

Raw = NDArray[np.generic]
Split = Literal["test", "train"]
"""The part that is wanted where the data holds both."""

Answers = NDArray[Any]
"""The outputs that a model should give, a row per image: class numbers (n,), masks, numbers."""

Feed = NDArray[Any] | dict[str, NDArray[Any]]
"""The input of a model: one array (b, …), or the array of each of several inputs by name."""


A = TypeVar("A", bound=Sized)
B = TypeVar("B", bound=Sized)


def each_of(feed: A | dict[str, A]) -> tuple[A, ...]:
    """Return the array, or PyTorch's tensor, of each input."""
    return tuple(feed.values()) if isinstance(feed, dict) else (feed,)


def rows(feed: Sized | Mapping[str, Sized]) -> int:
    """Return b, the number of samples of a batch.

    >>> rows(np.zeros((2, 3))), rows({"a": np.zeros((4, 1)), "b": np.zeros((4, 2))})
    (2, 4)
    """
    return len(next(iter(feed.values())) if isinstance(feed, Mapping) else feed)


def of_each(feed: A | dict[str, A], change: Callable[[A], B]) -> B | dict[str, B]:
    """Return the feed with ``change`` made to the array, or tensor, of each input.

    >>> of_each({"a": np.arange(3)}, lambda x: x[1:])
    {'a': array([1, 2])}
    """
    if isinstance(feed, dict):
        return {name: change(array) for name, array in feed.items()}
    return change(feed)


@dataclass(frozen=True)
class RawBatch:
    """b images, or other samples, as they were stored.

    ``x`` is an array (b, …), or several by the names of inputs, or, from image files, b images
    (h, w, c) uint8 of their own sizes, decoded one at a time as they are asked for. ``y (b, …)``
    are the labels, of image files' masks a list of (h, w). ``names (b,)`` what messages call the
    images.
    """

    x: Feed | Iterable[Raw]
    y: Answers | list[Answers] | None
    names: tuple[str, ...]


class Source(Protocol):
    """Data that can be read from the start any number of times."""

    @property
    def name(self) -> str:
        """The name of the data in messages."""

    @property
    def size(self) -> int | None:
        """The number of images; ``None`` where only reading them all would tell."""

    @property
    def labels(self) -> Answers | None:
        """All labels (n, …), where there are any and they are known before reading."""

    @property
    def unused(self) -> str | None:
        """Why labels that are there are not used, where they are not needed; else None."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes that labels are numbers of, where there are names."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """The lines for the user on the data."""

    def first(self) -> Source:
        """Return a source of one image, to look at."""

    def sound(self) -> Source:
        """Return the images that can be read, where broken ones are to be left out."""

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
