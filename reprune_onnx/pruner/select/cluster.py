"""Agglomerative clustering of the kernels of every input channel (Eq. 1-5).

Eq. 2 is read as true Ward linkage: a merge's height is sqrt(2·ΔSSE), as in scipy. A height here is
d(c; K_j), the distance of the c-th merge; it never decreases with c in any of the four linkages.

A cluster is named after its last kernel, and a merge is a pair of names (a, b), a < b: cluster a
becomes part of cluster b. Each kernel is an ``a`` at most once, so any set of merges is a forest
whose trees are clusters.

There are two ways to the same merges, equal to the last bit. The plain one, by scipy and numpy, is
the reference; the compiled one, by numba, serves layers of some size. Ties are decided so:

* k×k kernels: by scipy's algorithm (for single linkage a minimum spanning tree; for the others a
  chain of nearest neighbours, which starts at the first kernel, and of equally near ones prefers
  its last but one, then the first); of equal heights the merge found first comes first;
* 1×1 kernels, which are numbers on a line: of equal gaps the one between smaller numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from reprune_onnx.choices import Cutoff, Linkage
from reprune_onnx.pruner.select.fast import worth_compiling
from reprune_onnx.pruner.select.line import line_merges
from reprune_onnx.types import Floats, Ints

_BLOCK = 2**22  # kernels that are clustered at once: of many inputs, the merges need much memory


@dataclass(frozen=True)
class Merges:
    """All merges of every input channel, lowest first: the dendrograms.

    ``pairs`` (n_in, m - 1, 2) are names of clusters, ``heights`` (n_in, m - 1) their distances.
    """

    pairs: Ints
    heights: Floats


def clusters(
    kernels: Floats,
    n_merges: int,
    linkage: Linkage,
    cutoff: Cutoff,
    remembered: dict[str, Merges] | None = None,
) -> Ints:
    """Return C (m, n_in): the cluster of every kernel of ``kernels`` (m, n_in, d).

    ``n_merges`` is ñ, from 0 to m - 1. Each column of C is numbered from 0, by first occurrence.

    * ``merge-count``, Eq. 5 as printed: AC_ñ, exactly m - ñ clusters in every input channel.
    * ``height``: every merge up to h_l = max_j d(ñ; K_j) (Eq. 4), so m - ñ clusters or fewer.
    * ñ = 0 merges nothing, not even equal kernels.

    Dendrograms are the same for any ñ: of few input channels they are ``remembered`` by linkage.

    >>> K = np.array([0.0, 5.0, 0.1]).reshape(3, 1, 1)
    >>> clusters(K, 1, "ward", "merge-count").T
    array([[0, 1, 0]])
    """
    m, n_in, _ = kernels.shape
    if n_merges == 0:
        return np.repeat(np.arange(m)[:, None], n_in, axis=1)
    step = max(1, _BLOCK // m)
    blocks = [slice(start, start + step) for start in range(0, n_in, step)]
    trees: Iterable[Merges] = (dendrograms(kernels[:, block], linkage) for block in blocks)
    if remembered is not None and len(blocks) == 1:
        if linkage not in remembered:
            remembered[linkage] = dendrograms(kernels, linkage)
        trees = [remembered[linkage]]
    h = 0.0
    if cutoff == "height":  # of all input channels, so all are clustered before any is cut
        trees = list(trees)
        h = max((t.heights[:, n_merges - 1].max() for t in trees), default=0.0)
    C = np.empty((m, n_in), dtype=np.int64)
    for block, tree in zip(blocks, trees, strict=True):
        counts = np.full(len(tree.heights), n_merges)
        if cutoff == "height":
            counts = (tree.heights <= h).sum(axis=1)
        C[:, block] = cut(tree, counts)
    return C


def dendrograms(kernels: Floats, linkage: Linkage) -> Merges:
    """Return the merges of every input channel of ``kernels`` (m, n_in, d)."""
    if worth_compiling(kernels.shape[0] ** 2 * kernels.shape[1]):
        from reprune_onnx.pruner.select import compiled

        return Merges(*compiled.merges(kernels, linkage))
    return plain_dendrograms(kernels, linkage)


def plain_dendrograms(kernels: Floats, linkage: Linkage) -> Merges:
    """The same without numba: the reference that the compiled engine is tested against."""
    if kernels.shape[2] == 1:
        return Merges(*line_merges(kernels[:, :, 0], linkage))
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import pdist

    m, n_in, _ = kernels.shape
    trees = np.zeros((n_in, m - 1, 4))
    if m > 1:
        for j in range(n_in):
            trees[j] = hierarchy.linkage(pdist(kernels[:, j]), linkage)
    # In scipy's trees nodes 0..m-1 are kernels and node m + c is made by merge c.
    nodes = trees[:, :, :2].astype(np.int64)
    column = np.arange(n_in)[:, None]
    name = np.tile(np.arange(2 * m - 1), (n_in, 1))
    pairs = np.empty((n_in, m - 1, 2), dtype=np.int64)
    for c in range(m - 1):
        pairs[:, c] = np.sort(name[column, nodes[:, c]], axis=1)
        name[:, m + c] = pairs[:, c, 1]
    return Merges(pairs, trees[:, :, 2])


def cut(tree: Merges, n_merges: Ints) -> Ints:
    """Return C (m, n_in) after the first ``n_merges[j]`` merges of input channel j.

    Merges are counted, not compared by height as scipy's ``fcluster`` does, which on ties returns
    fewer clusters than asked for.
    """
    n_in, steps, _ = tree.pairs.shape
    if worth_compiling((steps + 1) ** 2 * n_in):
        from reprune_onnx.pruner.select import compiled

        return compiled.cut(tree.pairs, n_merges)
    return plain_cut(tree, n_merges)


def plain_cut(tree: Merges, n_merges: Ints) -> Ints:
    """The same without numba: the reference that the compiled engine is tested against."""
    n_in, steps, _ = tree.pairs.shape
    column = np.arange(n_in)
    root = np.tile(np.arange(steps + 1)[:, None], n_in)  # (m, n_in)
    j, c = np.nonzero(np.arange(steps) < n_merges[:, None])
    root[tree.pairs[j, c, 0], j] = tree.pairs[j, c, 1]
    first = np.empty_like(root)
    for a in reversed(range(steps + 1)):  # names grow towards the root
        root[a] = root[root[a], column]
        first[root[a], column] = a
    first = np.take_along_axis(first, root, axis=0)
    number = (first == np.arange(steps + 1)[:, None]).cumsum(axis=0) - 1
    C: Ints = np.take_along_axis(number, first, axis=0)
    return C
