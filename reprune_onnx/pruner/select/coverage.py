"""Greedy maximum cluster coverage (Eq. 6-7) and its rate (Eq. 14).

U is the set of all clusters of all input channels. A filter covers the clusters that its kernels
are in; its score is what those are worth that no chosen filter covers yet: in the paper, how many
they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csc_array, csr_array, hstack

from reprune_onnx.choices import TieBreak
from reprune_onnx.pruner.select.fast import worth_compiling
from reprune_onnx.types import Choice, Floats, Ints, Problem

_DIGITS = 9  # of a score, in units of a mean cluster's worth; scores that differ by less are equal


def cover(
    problem: Problem,
    clusters: Sequence[Ints],
    tie_break: TieBreak,
    norms: Floats,
    rng: np.random.Generator,
    values: Floats | None = None,
) -> Choice:
    """Choose ``problem.n_keep`` channels that cover many clusters, or those of most worth.

    ``clusters[p]`` is C (m, n_in) of ``problem.filters[p]``; all producers' clusters together are
    U, in the order of `numbered`, and a channel that a producer does not make covers none of its
    clusters. ``values`` (|U|,), not negative and in any unit, is 1 for each by default.

    * A channel's score is relative to the number of its kernels, which is the same for all where
      every producer makes every channel: one that few layers make is not worth less for that.
    * Fixed channels come first, and what they cover counts as covered.
    * Of equal scores: one at random, or the one of the largest or smallest ``norms`` (n,), then the
      lowest index.
    * Once everything is covered, the rest is chosen by a fresh cover: all clusters count as
      uncovered again, and only channels that are not chosen yet compete.

    The rate is the covered part of U, by number; None where U is empty.
    """
    covered_by = _incidence(problem, clusters)  # (n, |U|), by rows
    members = covered_by.tocsc()  # by columns
    kernels = np.diff(covered_by.indptr)
    weight = kernels.max() / np.maximum(kernels, 1)
    values = np.ones(members.shape[1]) if values is None else _in_means(values)

    chosen = problem.fixed.copy()
    uncovered = chosen @ members == 0
    scores = covered_by @ (values * uncovered)
    for _ in range(problem.n_keep - int(chosen.sum())):
        rounded = np.round(scores * weight, _DIGITS)
        if not rounded[~chosen].any():
            uncovered[:] = True
            scores = covered_by @ values
            rounded = np.round(scores * weight, _DIGITS)
        best = rounded[~chosen].max()
        i = _break_tie(np.flatnonzero(~chosen & (rounded == best)), tie_break, norms, rng)
        chosen[i] = True
        covers = covered_by.indices[covered_by.indptr[i] : covered_by.indptr[i + 1]]
        newly = covers[uncovered[covers]]
        uncovered[newly] = False
        scores -= _lost(members, newly, values)

    rate = float((chosen @ members > 0).mean()) if members.shape[1] else None
    return Choice(kept=np.flatnonzero(chosen), coverage=rate)


def numbered(clusters: Sequence[Ints]) -> tuple[list[Ints], int]:
    """Number all clusters from 0: as C (m, n_in), but one after the other through U; and |U|.

    Producers come in order, within them input channels, within these clusters.
    """
    ids = []
    before = 0
    for u, size in map(_numbered, clusters):
        ids.append(u + before)
        before += size
    return ids, before


def _numbered(C: Ints) -> tuple[Ints, int]:
    """The clusters C (m, n_in) of one producer, one after the other, and how many they are."""
    counts = C.max(axis=0) + 1  # clusters of each input channel
    return C + (counts.cumsum() - counts), int(counts.sum())


def _incidence(problem: Problem, clusters: Sequence[Ints]) -> csr_array:
    """Return the matrix (n, |U|) that is 1 at (i, u) where channel i has a kernel in cluster u."""
    blocks = [csr_array((problem.n, 0))]
    for filters, (u, size) in zip(problem.filters, map(_numbered, clusters), strict=True):
        kernels = np.bincount(filters.channels + 1, minlength=problem.n + 1) * u.shape[1]
        columns = u[np.argsort(filters.channels)].ravel()
        entries = (np.ones(len(columns)), columns, kernels.cumsum())
        blocks.append(csr_array(entries, shape=(problem.n, size)))
    return hstack(blocks, format="csr")


def _in_means(values: Floats) -> Floats:
    """``values`` in units of its mean, so that rounding means the same for any unit."""
    return values / (values.mean() or 1.0) if len(values) else values


def _lost(members: csc_array, newly: Ints, values: Floats) -> Floats:
    """The loss of each channel's score (n,) when the clusters ``newly`` are covered."""
    if worth_compiling():
        from reprune_onnx.pruner.select.compiled_cover import lost

        return lost(members.indptr, members.indices, newly, values, members.shape[0])
    return plain_lost(members, newly, values)


def plain_lost(members: csc_array, newly: Ints, values: Floats) -> Floats:
    """The same without numba: the reference that the compiled step is tested against."""
    starts, ends = members.indptr[newly], members.indptr[newly + 1]
    sizes = ends - starts
    skipped = np.repeat(starts - sizes.cumsum() + sizes, sizes)
    who = members.indices[skipped + np.arange(len(skipped))]
    total = np.bincount(who, np.repeat(values[newly], sizes), minlength=members.shape[0])
    return total.astype(np.float64, copy=False)


def _break_tie(
    candidates: Ints, tie_break: TieBreak, norms: Floats, rng: np.random.Generator
) -> int:
    if tie_break == "random":
        return int(rng.choice(candidates))
    best = np.argmax if tie_break == "max-l2" else np.argmin
    return int(candidates[best(norms[candidates])])
