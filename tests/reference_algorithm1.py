"""Algorithm 1 of the paper, written from its text with plain loops: the oracle of the real one.

It imports nothing of the package. Ties are broken by the filters' ℓ2 norms, then by the lowest
index; once everything is covered, a fresh cover of the filters not yet chosen begins.
"""

import math

import numpy as np
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import pdist


def select(F, n_keep, linkage, cutoff, tie_break):
    """Return the sorted indices of the ``n_keep`` filters of F (n_out, n_in, kh, kw) that stay."""
    n_out, n_in = F.shape[:2]
    n_merges = n_out - n_keep

    # Lines 2-6: AC* of every input channel (Eq. 5), each a list of sets of filters.
    trees = [merges_of(F[:, j], linkage) for j in range(n_in)]
    h = max(height(tree, n_merges) for tree in trees)  # Eq. 4
    universe = []
    for tree in trees:
        c = n_merges
        if cutoff == "height" and n_merges > 0:
            while c < len(tree) and height(tree, c + 1) <= h:
                c += 1
        universe.append(clusters_after(tree, c, n_out))

    # Lines 7-13: greedy maximum coverage (Eq. 7).
    covers = [clusters_with(i, universe) for i in range(n_out)]
    covered = set()
    chosen = []
    while len(chosen) < n_keep:
        remaining = [i for i in range(n_out) if i not in chosen]
        score = {i: len(covers[i] - covered) for i in remaining}
        if max(score.values()) == 0:
            covered = set()
            score = {i: len(covers[i]) for i in remaining}
        candidates = [i for i in remaining if score[i] == max(score.values())]
        sign = -1 if tie_break == "max-l2" else 1
        r = min(candidates, key=lambda i: (sign * norm(F[i]), i))
        chosen.append(r)
        covered |= covers[r]
    return sorted(chosen)


def merges_of(kernels, linkage):
    """Return the merges of the kernels (n_out, kh, kw) of one input channel, in order."""
    n_out = len(kernels)
    if n_out == 1:
        return []
    flat = kernels.reshape(n_out, -1).astype(np.float64)
    return [(int(a), int(b), float(d)) for a, b, d, _ in scipy_linkage(pdist(flat), linkage)]


def height(tree, c):
    """Return d(c; K_j), the distance of the c-th merge."""
    return tree[c - 1][2] if c > 0 else 0.0


def clusters_after(tree, c, n_out):
    """Return AC_c by Eq. 1: take the two merged clusters out, put their union in."""
    clusters = {i: {i} for i in range(n_out)}
    for step, (a, b, _) in enumerate(tree[:c]):
        clusters[n_out + step] = clusters.pop(a) | clusters.pop(b)
    return list(clusters.values())


def clusters_with(i, universe):
    """Return which clusters the kernels of filter i are in, as pairs (input channel, cluster)."""
    return {
        (j, number)
        for j, clusters in enumerate(universe)
        for number, members in enumerate(clusters)
        if i in members
    }


def norm(filter_):
    return math.sqrt(float(np.sum(filter_.astype(np.float64) ** 2)))
