"""Greedy maximum cluster coverage (Eq. 6-7) and its rate (Eq. 14).

U is the set of all clusters of all input channels. A filter covers the clusters that its kernels
are in; its score is the number of those that no chosen filter covers yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from reprune_onnx.types import Choice, Floats, Ints, Problem, TieBreak


def cover(
    problem: Problem,
    clusters: Sequence[Ints],
    tie_break: TieBreak,
    norms: Floats,
    rng: np.random.Generator,
) -> Choice:
    """Choose ``problem.n_keep`` channels that cover many clusters.

    ``clusters[p]`` is C (m, n_in) of ``problem.filters[p]``; all producers' clusters together are
    U, and a channel that a producer does not make covers none of its clusters.

    * A channel's score is relative to the number of its kernels, which is the same for all where
      every producer makes every channel: one that few layers make is not worth less for that.
    * Fixed channels come first, and what they cover counts as covered.
    * Of equal scores: one at random, or the one of the largest or smallest ``norms`` (n,), then the
      lowest index.
    * Once everything is covered, the rest is chosen by a fresh cover: all clusters count as
      uncovered again, and only channels that are not chosen yet compete.

    The rate is the covered part of U; None where U is empty.
    """
    members = _members(problem, clusters)  # (|U|, n)
    clusters_of = members.T.tocsr()
    full_scores = members.sum(axis=0)
    weight = full_scores.max(initial=1) / np.maximum(full_scores, 1)

    chosen = problem.fixed.copy()
    uncovered = members @ chosen == 0
    scores = members[uncovered].sum(axis=0)
    for _ in range(problem.n_keep - int(chosen.sum())):
        if not scores[~chosen].any():
            uncovered[:] = True
            scores = full_scores.copy()
        worth = np.round(scores * weight, 9)
        best = worth[~chosen].max()
        i = _break_tie(np.flatnonzero(~chosen & (worth == best)), tie_break, norms, rng)
        chosen[i] = True
        covers = clusters_of.indices[clusters_of.indptr[i] : clusters_of.indptr[i + 1]]
        newly = covers[uncovered[covers]]
        uncovered[newly] = False
        scores -= members[newly].sum(axis=0)

    rate = float((members @ chosen > 0).mean()) if members.shape[0] else None
    return Choice(kept=np.flatnonzero(chosen), coverage=rate)


def _members(problem: Problem, clusters: Sequence[Ints]) -> csr_array:
    """Return the matrix (|U|, n) that is 1 at (u, i) where channel i has a kernel in cluster u."""
    rows = [np.empty(0, dtype=np.int64)]
    columns = [np.empty(0, dtype=np.int64)]
    size = 0
    for filters, C in zip(problem.filters, clusters, strict=True):
        counts = C.max(axis=0) + 1  # clusters of each input channel
        starts = size + counts.cumsum() - counts
        rows.append((starts + C).ravel())
        columns.append(np.repeat(filters.channels, C.shape[1]))
        size += int(counts.sum())
    u, i = np.concatenate(rows), np.concatenate(columns)
    return csr_array((np.ones(len(u), dtype=np.int64), (u, i)), shape=(size, problem.n))


def _break_tie(
    candidates: Ints, tie_break: TieBreak, norms: Floats, rng: np.random.Generator
) -> int:
    if tie_break == "random":
        return int(rng.choice(candidates))
    best = np.argmax if tie_break == "max-l2" else np.argmin
    return int(candidates[best(norms[candidates])])
