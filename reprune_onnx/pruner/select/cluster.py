"""Agglomerative clustering of the kernels of every input channel (Eq. 1-5), by scipy.

Eq. 2 is read as true Ward linkage: a merge's height is sqrt(2·ΔSSE), as in scipy. A height here is
d(c; K_j), the distance of the c-th merge; it never decreases with c in any of the four linkages.
"""

from __future__ import annotations

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from reprune_onnx.types import Cutoff, Floats, Ints, Linkage


def clusters(kernels: Floats, n_merges: int, linkage: Linkage, cutoff: Cutoff) -> Ints:
    """Return C (m, n_in): the cluster of every kernel of ``kernels`` (m, n_in, d).

    ``n_merges`` is ñ, from 0 to m - 1. Each column of C is numbered from 0, by first occurrence.

    * ``merge-count``, Eq. 5 as printed: AC_ñ, exactly m - ñ clusters in every input channel.
      Kernels at equal distances are told apart by scipy's merge order.
    * ``height``: every merge up to h_l = max_j d(ñ; K_j) (Eq. 4), so m - ñ clusters or fewer.
    * ñ = 0 merges nothing, not even equal kernels.

    >>> K = np.array([0.0, 5.0, 0.1]).reshape(3, 1, 1)
    >>> clusters(K, 1, "ward", "merge-count").T
    array([[0, 1, 0]])
    """
    m, n_in, _ = kernels.shape
    if n_merges == 0:
        return np.repeat(np.arange(m)[:, None], n_in, axis=1)
    trees = dendrograms(kernels, linkage)
    if cutoff == "merge-count":
        return cut(trees, np.full(n_in, n_merges))
    heights = trees[:, :, 2]
    h = heights[:, n_merges - 1].max(initial=0.0)
    return cut(trees, (heights <= h).sum(axis=1))


def dendrograms(kernels: Floats, linkage: Linkage) -> Floats:
    """Return scipy's linkage matrix of every input channel of ``kernels``: (n_in, m - 1, 4)."""
    m, n_in, _ = kernels.shape
    trees = np.zeros((n_in, m - 1, 4))
    if m > 1:
        for j in range(n_in):
            trees[j] = hierarchy.linkage(pdist(kernels[:, j]), linkage)
    return trees


def cut(trees: Floats, n_merges: Ints) -> Ints:
    """Return C (m, n_in) after the first ``n_merges[j]`` merges of tree j.

    Merges are counted, not compared by height as scipy's ``fcluster`` does, which on ties returns
    fewer clusters than asked for.
    """
    n_in, steps, _ = trees.shape
    m = steps + 1
    column = np.arange(n_in)
    pairs = trees[:, :, :2].astype(np.int64)
    # Nodes 0..m-1 of a tree are kernels and node m + c is made by merge c. ``first`` is the lowest
    # kernel of each node: on the way up as its own, on the way down as that of the largest node
    # that contains it and is made by an allowed merge.
    first = np.tile(np.arange(m + steps), (n_in, 1))
    for c in range(steps):
        first[:, m + c] = first[column[:, None], pairs[:, c]].min(axis=1)
    for c in reversed(range(steps)):
        j = column[c < n_merges]
        first[j[:, None], pairs[j, c]] = first[j, m + c][:, None]
    first = first[:, :m]
    number = (first == np.arange(m)).cumsum(axis=1) - 1
    C: Ints = np.take_along_axis(number, first, axis=1).T
    return C
