"""Clustering of numbers: 1×1 kernels lie on a line, where only neighbours ever merge.

Sorted, the clusters of m numbers are intervals, and what separates them are the gaps between. In
all four linkages a gap only widens when a cluster beside it grows, so a gap that is the narrowest
among its neighbours is merged in any case, and all such gaps can be merged at once. Numbers without
a pattern need O(log m) such rounds.
"""

from __future__ import annotations

import numpy as np

from reprune_onnx.choices import Linkage
from reprune_onnx.types import Floats, Ints


def line_merges(numbers: Floats, linkage: Linkage) -> tuple[Ints, Floats]:
    """Return the merges of ``numbers`` (m, n_in): pairs (n_in, m - 1, 2), heights (n_in, m - 1).

    Pairs are names of clusters, as in `cluster`. Of equal gaps the one between smaller numbers is
    merged first; equal numbers are in the order of their kernels.
    """
    m, n_in = numbers.shape
    order = np.argsort(numbers.T, axis=1, kind="stable")
    x = np.take_along_axis(numbers.T, order, axis=1).reshape(-1)
    # All input channels side by side. Gap i lies left of cluster i; a channel's first has none.
    name = order.reshape(-1)
    cluster = np.stack([np.ones(n_in * m), x, x, x])  # size, mean, lowest, highest: (4, n_in·m)
    place = np.arange(n_in * m)
    gap = np.full(n_in * m, np.inf)
    inner = np.flatnonzero(place % m)
    gap[inner] = _widths(cluster[:, inner - 1], cluster[:, inner], linkage)

    pairs = np.zeros((n_in * m, 2), dtype=np.int64)
    heights = np.zeros(n_in * m)
    while len(gap) > n_in:
        closes = (gap < np.append(np.inf, gap[:-1])) & (gap <= np.append(gap[1:], np.inf))
        closes &= np.isfinite(gap)
        right = np.flatnonzero(closes)
        left = right - 1
        heights[place[right]] = gap[right]
        pairs[place[right]] = np.sort(np.stack([name[left], name[right]], axis=1), axis=1)
        name[left] = pairs[place[right], 1]
        cluster[:, left] = _joined(cluster[:, left], cluster[:, right])

        changed = np.zeros(len(gap) + 1, dtype=np.bool_)
        changed[left] = changed[right + 1] = True
        changed = changed[:-1][~closes]
        name, cluster, place, gap = name[~closes], cluster[:, ~closes], place[~closes], gap[~closes]
        again = np.flatnonzero(changed & np.isfinite(gap))
        width = _widths(cluster[:, again - 1], cluster[:, again], linkage)
        gap[again] = np.maximum(gap[again], width)

    pairs, heights = pairs.reshape(n_in, m, 2)[:, 1:], heights.reshape(n_in, m)[:, 1:]
    rising = np.argsort(heights, axis=1, kind="stable")
    return (
        np.take_along_axis(pairs, rising[:, :, None], axis=1),
        np.take_along_axis(heights, rising, axis=1),
    )


def _joined(a: Floats, b: Floats) -> Floats:
    size = a[0] + b[0]
    mean = (a[0] * a[1] + b[0] * b[1]) / size
    return np.stack([size, np.minimum(np.maximum(mean, a[2]), b[3]), a[2], b[3]])


def _widths(a: Floats, b: Floats, linkage: Linkage) -> Floats:
    """The distances of neighbours, of which ``a`` (4, k) lie left of ``b`` (4, k)."""
    width: Floats
    if linkage == "single":
        width = b[2] - a[3]
    elif linkage == "complete":
        width = b[3] - a[2]
    else:
        width = b[1] - a[1]
    if linkage == "ward":
        width *= np.sqrt(2.0 * a[0] * b[0] / (a[0] + b[0]))
    return width
