"""The images held back from the training data, to measure on where no `--val` is given."""

from __future__ import annotations

import numpy as np

from reprune_onnx.types import Ints

_SHARE = 10  # one in so many
_LEAST = 256  # images; of fewer, none can be spared
_MOST = 2000  # held back: beyond that measuring costs time and tells no more


def held_back(n: int, seed: int) -> Ints | None:
    """The numbers, ascending, of the images of ``n`` that are not trained on; None of too few.

    >>> [None if (h := held_back(n, 0)) is None else len(h) for n in (100, 1000, 50000)]
    [None, 100, 2000]
    """
    if n < _LEAST:
        return None
    order = np.random.default_rng([seed, 3]).permutation(n)
    return np.sort(order[: min(n // _SHARE, _MOST)])


def spread(n: int) -> Ints:
    """The numbers of images spread evenly over all ``n``, where none is held back."""
    return np.unique(np.linspace(0, n - 1, min(n, _MOST)).astype(np.int64))


def rest_of(n: int, held: Ints) -> Ints:
    """The numbers, ascending, of the other images."""
    return np.setdiff1d(np.arange(n), held)
