"""The clustering of `cluster`, compiled by numba and spread over the cores.

Input channels are independent problems, so the result does not depend on the number of threads.
Every step has the order of operations of its twin (scipy's for kernels, `line`'s for numbers), so
that every bit is the same: no sum may be fused or reordered here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from reprune_onnx.choices import Linkage
from reprune_onnx.pruner.select.fast import compiled
from reprune_onnx.types import Floats, Ints

_SINGLE, _COMPLETE, _AVERAGE, _WARD = range(4)
_LINKAGES: dict[Linkage, int] = {
    "single": _SINGLE,
    "complete": _COMPLETE,
    "average": _AVERAGE,
    "ward": _WARD,
}
_CHUNKS = 8  # per thread: few enough to reuse memory, enough for threads to end together
_PAD = 8  # numbers: columns of a matrix a power of two wide would share a few cache lines


def merges(kernels: Floats, linkage: Linkage) -> tuple[Ints, Floats]:
    """Return the merges of ``kernels`` (m, n_in, d): pairs (n_in, m - 1, 2), heights (n_in, m - 1).

    The same as `cluster.plain_dendrograms`, to the last bit.
    """
    m, n_in, _ = kernels.shape
    pairs = np.empty((n_in, max(0, m - 1), 2), dtype=np.int64)
    heights = np.empty((n_in, max(0, m - 1)))
    if m < 2 or n_in == 0:
        return pairs, heights
    columns = np.ascontiguousarray(kernels.transpose(1, 2, 0))  # (n_in, d, m)

    def work(part: slice) -> None:
        pairs[part], heights[part] = _solve(columns[part], linkage)

    _spread(work, n_in)
    return pairs, heights


def cut(pairs: Ints, n_merges: Ints) -> Ints:
    """Return C (m, n_in), the clusters after the first ``n_merges`` (n_in,) of ``pairs``.

    The same as `cluster.plain_cut`.
    """
    n_in, steps, _ = pairs.shape
    C = np.empty((steps + 1, n_in), dtype=np.int64)

    def work(part: slice) -> None:
        cluster_of = np.empty((len(pairs[part]), steps + 1), dtype=np.int64)
        _number(pairs[part], n_merges[part], cluster_of)
        C[:, part] = cluster_of.T

    _spread(work, n_in)
    return C


def _spread(work: Callable[[slice], None], n_in: int) -> None:
    """Do the work of ``n_in`` input channels, some at a time, on all cores."""
    threads = numba.config.NUMBA_NUM_THREADS
    step = max(1, n_in // (_CHUNKS * threads))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, (slice(start, start + step) for start in range(0, n_in, step))))


def _solve(columns: Floats, linkage: Linkage) -> tuple[Ints, Floats]:
    """The sorted merges of some input channels, whose kernels are ``columns`` (k, d, m)."""
    k, d, m = columns.shape
    code = _LINKAGES[linkage]
    merges = np.empty((k, m - 1, 2), dtype=np.int64)
    heights = np.empty((k, m - 1))
    if d == 1:
        numbers = columns[:, 0]
        order = _order(numbers)
        _lines(np.take_along_axis(numbers, order, axis=1), order, code, merges, heights)
    elif linkage == "single":
        _paths(columns, merges, heights)
    else:
        _chains(columns, code, np.empty((m, m + _PAD)), merges, heights)
    rising = _order(heights)
    pairs = np.empty_like(merges)
    _rearrange(merges, rising, pairs)
    if d > 1:
        _rename(pairs)
    return pairs, np.take_along_axis(heights, rising, axis=1)


def _order(values: Floats) -> Ints:
    """The order of each row of ``values`` (k, m); equal values stay in the order they have.

    A sort that need not see to that takes half as long, and rows with equal values are few.
    """
    order = np.argsort(values, axis=1)
    rising = np.take_along_axis(values, order, axis=1)
    tied = (rising[:, 1:] == rising[:, :-1]).any(axis=1)
    if tied.any():
        order[tied] = np.argsort(values[tied], axis=1, kind="stable")
    return order


@compiled
def _rearrange(merges: Ints, order: Ints, pairs: Ints) -> None:
    """Write ``merges`` (k, m - 1, 2) into ``pairs``, each row in its ``order`` (k, m - 1)."""
    k, steps = order.shape
    for j in range(k):
        for c in range(steps):
            i = order[j, c]
            pairs[j, c, 0], pairs[j, c, 1] = merges[j, i, 0], merges[j, i, 1]


# ── kernels: scipy's nn_chain and mst_single_linkage ────────────────────────────────────────────


@compiled
def _chains(columns: Floats, linkage: int, distance: Floats, pairs: Ints, heights: Floats) -> None:
    """Merge the kernels ``columns`` (k, d, m) of each input along a chain of nearest neighbours.

    ``distance`` (m, m) is working memory. Rows are clusters; one that became part of another stays
    in place, with ``gone`` infinite, until half of them can be left out at once.
    """
    m = columns.shape[2]
    size, gone = np.empty(m), np.empty(m)
    name, chain = np.empty(m, dtype=np.int64), np.empty(m, dtype=np.int64)
    for j in range(len(columns)):
        for x in range(m):
            _distances(columns[j], x, distance[x, :m])
            distance[x, x] = np.inf
            size[x], gone[x], name[x] = 1.0, 0.0, x
        rows, length = m, 0
        for c in range(m - 1):
            if 2 * (m - c) <= rows:
                rows = _leave_out(distance, rows, (size, gone, name), chain[:length])
            if length == 0:
                chain[0] = 0
                while gone[chain[0]] > 0:
                    chain[0] += 1
                length = 1
            while True:
                x = chain[length - 1]
                nearest = _least(distance[x, :rows], gone)
                if length > 1 and distance[x, chain[length - 2]] == nearest:
                    break
                y = 0
                while distance[x, y] + gone[y] != nearest:
                    y += 1
                chain[length] = y
                length += 1
            length -= 2
            a, b = min(x, chain[length]), max(x, chain[length])
            pairs[j, c, 0], pairs[j, c, 1] = name[a], name[b]
            heights[j, c] = nearest
            _update(distance[a, :rows], distance[b, :rows], nearest, linkage, (size, a, b))
            distance[b, b] = np.inf
            for i in range(rows):
                distance[i, b] = distance[b, i]
            size[b] += size[a]
            gone[a] = np.inf


@compiled
def _distances(columns: Floats, x: int, row: Floats) -> None:
    """Write into ``row`` (k,) the distances of kernel x of ``columns`` (d, k) to all of them."""
    d, k = columns.shape
    for y in range(k):
        row[y] = 0.0
    t = 0
    while t + 3 <= d:  # three terms a pass: the row is read and written less often
        p, q, r = columns[t], columns[t + 1], columns[t + 2]
        p0, q0, r0 = p[x], q[x], r[x]
        for y in range(k):
            u, v, w = p0 - p[y], q0 - q[y], r0 - r[y]
            row[y] = row[y] + u * u + v * v + w * w
        t += 3
    while t < d:
        p = columns[t]
        p0 = p[x]
        for y in range(k):
            u = p0 - p[y]
            row[y] = row[y] + u * u
        t += 1
    for y in range(k):
        row[y] = np.sqrt(row[y])


@compiled
def _least(row: Floats, gone: Floats) -> float:
    """The smallest of ``row`` that is not gone, by four comparisons at a time."""
    n = len(row)
    p = q = r = s = np.inf
    for i in range(0, n - n % 4, 4):
        t, u, v, w = (
            row[i] + gone[i],
            row[i + 1] + gone[i + 1],
            row[i + 2] + gone[i + 2],
            row[i + 3] + gone[i + 3],
        )
        p = t if t < p else p
        q = u if u < q else q
        r = v if v < r else r
        s = w if w < s else s
    for i in range(n - n % 4, n):
        t = row[i] + gone[i]
        p = t if t < p else p
    return min(p, q, r, s)


@compiled
def _update(
    old: Floats, new: Floats, between: float, linkage: int, state: tuple[Floats, int, int]
) -> None:
    """Make ``new``, the distances of cluster b, those of a and b together (Lance-Williams)."""
    size, a, b = state
    n_a, n_b = size[a], size[b]
    if linkage == _WARD:
        for i in range(len(new)):
            s = size[i]
            t = 1.0 / (n_a + n_b + s)
            x, y = old[i], new[i]
            new[i] = np.sqrt(
                (s + n_a) * t * x * x + (s + n_b) * t * y * y - s * t * between * between
            )
    elif linkage == _AVERAGE:
        for i in range(len(new)):
            new[i] = (n_a * old[i] + n_b * new[i]) / (n_a + n_b)
    else:
        for i in range(len(new)):
            new[i] = max(old[i], new[i])


@compiled
def _leave_out(distance: Floats, rows: int, state: tuple[Floats, Floats, Ints], chain: Ints) -> int:
    """Move the rows and columns that are not gone together, in order; how many they are."""
    size, gone, name = state
    place, left = np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.int64)
    stay = 0
    for x in range(rows):
        if gone[x] == 0:
            place[x], left[stay] = stay, x
            size[stay], name[stay] = size[x], name[x]
            stay += 1
    for i in range(stay):
        old, new = distance[left[i]], distance[i]
        for j in range(stay):
            new[j] = old[left[j]]
    for i in range(len(chain)):
        chain[i] = place[chain[i]]
    for x in range(stay):
        gone[x] = 0.0
    return stay


@compiled
def _paths(columns: Floats, pairs: Ints, heights: Floats) -> None:
    """Join the kernels ``columns`` (k, d, m) of each input one by one, always the nearest.

    A pair is a kernel and the one joined before it: cut at its longest steps, the path falls into
    the clusters of single linkage.
    """
    m = columns.shape[2]
    nearest, row = np.empty(m), np.empty(m)
    joined = np.empty(m, dtype=np.bool_)
    for j in range(len(columns)):
        for x in range(m):
            nearest[x], joined[x] = np.inf, False
        x = 0
        for c in range(m - 1):
            joined[x] = True
            _distances(columns[j], x, row)
            following, step = x, np.inf
            for i in range(m):
                if not joined[i]:
                    nearest[i] = min(nearest[i], row[i])
                    if nearest[i] < step:
                        following, step = i, nearest[i]
            pairs[j, c, 0], pairs[j, c, 1] = x, following
            heights[j, c] = step
            x = following


@compiled
def _rename(pairs: Ints) -> None:
    """Replace kernels by the names of their clusters, in ``pairs`` (k, m - 1, 2) by rising height.

    Also where rounding puts a merge before one that it contains.
    """
    steps = pairs.shape[1]
    last = np.empty(steps + 1, dtype=np.int64)  # a way from each kernel to its cluster's last
    for j in range(len(pairs)):
        for x in range(steps + 1):
            last[x] = x
        for c in range(steps):
            a, b = pairs[j, c, 0], pairs[j, c, 1]
            while last[a] != a:
                last[a] = last[last[a]]
                a = last[a]
            while last[b] != b:
                last[b] = last[last[b]]
                b = last[b]
            pairs[j, c, 0], pairs[j, c, 1] = min(a, b), max(a, b)
            last[min(a, b)] = max(a, b)


@compiled
def _number(pairs: Ints, n_merges: Ints, cluster_of: Ints) -> None:
    """Write into ``cluster_of`` (k, m) the clusters, numbered by their first kernels."""
    k, m = cluster_of.shape
    last, first = np.empty(m, dtype=np.int64), np.empty(m, dtype=np.int64)
    for j in range(k):
        for x in range(m):
            last[x] = x
        for c in range(n_merges[j]):
            last[pairs[j, c, 0]] = pairs[j, c, 1]
        for x in range(m - 1, -1, -1):  # names grow towards the last
            last[x] = last[last[x]]
            first[last[x]] = x
        clusters = 0
        for x in range(m):
            if first[last[x]] == x:
                cluster_of[j, x] = clusters
                clusters += 1
            else:
                cluster_of[j, x] = cluster_of[j, first[last[x]]]


# ── numbers: the neighbours on a line ───────────────────────────────────────────────────────────


@compiled
def _lines(numbers: Floats, name: Ints, linkage: int, pairs: Ints, heights: Floats) -> None:
    """Merge the intervals of each input's sorted ``numbers`` (k, m): pair i closes gap i + 1.

    Walk from gap to narrower gap until both neighbours are wider; close it; go on beside it.
    """
    m = numbers.shape[1]
    cluster = np.empty((4, m))  # size, mean, lowest, highest; an interval is known by its first
    gap = np.empty(m + 1)  # to the left of each interval
    before, behind = np.empty(m, dtype=np.int64), np.empty(m, dtype=np.int64)
    for j in range(len(numbers)):
        for i in range(m):
            x = numbers[j, i]
            cluster[0, i], cluster[1, i], cluster[2, i], cluster[3, i] = 1.0, x, x, x
            before[i], behind[i] = i - 1, i + 1
            gap[i] = _width(cluster, linkage, i - 1, i) if i > 0 else np.inf
        gap[m] = np.inf
        i = 1
        for _ in range(m - 1):
            while True:
                if gap[behind[i]] < gap[i]:
                    i = behind[i]
                elif gap[before[i]] <= gap[i]:
                    i = before[i]
                else:
                    break
            left, right = before[i], behind[i]
            a, b = name[j, left], name[j, i]
            heights[j, i - 1] = gap[i]
            pairs[j, i - 1, 0], pairs[j, i - 1, 1] = min(a, b), max(a, b)
            name[j, left] = max(a, b)
            size = cluster[0, left] + cluster[0, i]
            mean = cluster[0, left] * cluster[1, left] + cluster[0, i] * cluster[1, i]
            cluster[0, left], cluster[3, left] = size, cluster[3, i]
            cluster[1, left] = min(max(mean / size, cluster[2, left]), cluster[3, left])
            behind[left] = right
            if right < m:
                before[right] = left
                gap[right] = max(gap[right], _width(cluster, linkage, left, right))
            if left > 0:
                gap[left] = max(gap[left], _width(cluster, linkage, before[left], left))
            i = left if left > 0 else right


@compiled
def _width(cluster: Floats, linkage: int, a: int, b: int) -> float:
    """The distance of neighbours, of which a lies left of b."""
    if linkage == _SINGLE:
        low, high = cluster[3, a], cluster[2, b]
    elif linkage == _COMPLETE:
        low, high = cluster[2, a], cluster[3, b]
    else:
        low, high = cluster[1, a], cluster[1, b]
    width: float = high - low
    if linkage == _WARD:
        n_a, n_b = cluster[0, a], cluster[0, b]
        width *= np.sqrt(2.0 * n_a * n_b / (n_a + n_b))
    return width
