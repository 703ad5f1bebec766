"""Label arrays: which label every element of an activation carries, and which labels are tied.

An activation ``(n, c, h, w)`` whose channels carry the labels ``5 … 5 + c - 1`` is the array
``[[[[5]], [[6]], …]]`` of shape ``(1, c, 1, 1)``: an axis along which labels do not vary has extent
1. An op that moves data moves the labels the same way, so most rules are the numpy function of the
op's own name applied to such an array.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from reprune_onnx.types import Bools, Ints, Labels, Shape

MOST = 2**22
"""Of one array, and of all fresh labels: 64 channels of 256 × 256 positions, each by itself."""


class TooManyLabelsError(Exception):
    """A few nodes can join a tensor to itself until no memory holds its labels."""


class LabelSpace:
    """Hands out labels and remembers which are tied (union-find; the least label is the root)."""

    def __init__(self) -> None:
        self._parent = np.empty(0, dtype=np.int64)
        self._locked = np.empty(0, dtype=np.bool_)  # right for roots only
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def fresh(self, n: int) -> Ints:
        """``n`` labels never handed out before, ascending.

        One is always to be had, to lock what is not followed.
        """
        if n > 1:
            check_size(self._size + n)
        start, self._size = self._size, self._size + n
        if self._size > len(self._parent):
            grown = np.arange(max(2 * len(self._parent), self._size, 1024), dtype=np.int64)
            grown[:start] = self._parent[:start]
            self._locked = np.concatenate(
                [self._locked[:start], np.zeros_like(grown[start:], bool)]
            )
            self._parent = grown
        return np.arange(start, self._size, dtype=np.int64)

    def roots(self, ids: Ints) -> Ints:
        """The root of each label, in the shape of ``ids``."""
        roots = self._parent[ids]
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                break
            roots = above
        self._parent[ids] = roots
        return roots

    def tie(self, a: Ints, b: Ints) -> None:
        """Tie ``a`` to ``b`` element by element, broadcasting one against the other."""
        left, right = np.broadcast_arrays(self.roots(a), self.roots(b))
        differ = left != right
        if not differ.any():
            return
        pairs = np.unique(np.stack([left[differ], right[differ]], axis=1), axis=0)
        for x, y in pairs.tolist():
            p, q = self._find(x), self._find(y)
            if p != q:
                self._parent[max(p, q)] = min(p, q)
                self._locked[min(p, q)] |= self._locked[max(p, q)]

    def lock(self, ids: Ints) -> None:
        """Remember that these labels stay, and all that are or will be tied to them."""
        self._locked[self.roots(ids)] = True

    def locked(self, ids: Ints) -> Bools:
        """Which of ``ids`` are tied to a label that was locked, in their shape."""
        locked: Bools = self._locked[self.roots(ids)]
        return locked

    def tie_along(self, ids: Ints, axes: Sequence[int]) -> Ints:
        """Tie all labels that differ only in their position along ``axes``.

        Returns the labels of one representative: ``ids`` with extent 1 along ``axes``.
        """
        first = ids[tuple(slice(0, 1) if a in axes else slice(None) for a in range(ids.ndim))]
        if first.size != ids.size:
            self.tie(ids, first)
        return first

    def tie_positions(self, ids: Ints, axis: int) -> Ints:
        """Tie what differs along axes of positions, so that channels lie along ``axis``.

        Along such an axis neighbours have the same labels somewhere: parts lie there one behind the
        other, as a class token before the patches. Heads and groups differ everywhere.
        """
        if ids.shape[axis] == 1 or len(varying(ids)) < 2:
            return ids
        ids = compress(self.roots(ids))
        for other in varying(ids):
            rows = np.moveaxis(ids, other, 0).reshape(ids.shape[other], -1)
            if other != axis and (rows[1:] == rows[:-1]).all(axis=1).any():
                ids = compress(self.roots(self.tie_along(ids, (other,))))
        return ids

    def free_rows(self, arrays: Sequence[Ints]) -> int:
        """The number of units that could go, were each row ``array[i]`` tied; 0 for one alone."""
        total = 0
        for array in arrays:
            labels, inverse = np.unique(self.roots(array), return_inverse=True)
            n, m = len(array), len(labels)
            rows = np.repeat(np.arange(n), array.shape[1])
            pairs = (np.ones(rows.size), (rows, n + inverse.ravel()))
            edges = coo_array(pairs, shape=(n + m, n + m))
            count, component = connected_components(edges, directed=False)
            locked = np.zeros(count, dtype=np.bool_)
            locked[component[n:][self.locked(labels)]] = True
            total += 0 if count < 2 else count - int(locked.sum())
        return total

    def _find(self, label: int) -> int:
        while (above := int(self._parent[label])) != label:
            self._parent[label] = self._parent[above]
            label = above
        return label


def check_size(n: int) -> None:
    """Raise TooManyLabelsError for more than `MOST`, before memory is taken for them."""
    if n > MOST:
        raise TooManyLabelsError


def compress(ids: Ints) -> Ints:
    """``ids`` with extent 1 along every axis on which they do not vary."""
    for axis in range(ids.ndim):
        if ids.shape[axis] > 1:
            first = ids.take([0], axis=axis)
            if np.array_equal(np.broadcast_to(first, ids.shape), ids):
                ids = first
    return ids


def in_a_row(ids: Ints) -> int:
    """The largest number of equal neighbours in which ``ids (n,)`` come, all along.

    >>> in_a_row(np.array([7, 7, 4, 4, 5, 5, 5, 5]))
    2
    """
    ends = np.flatnonzero(np.diff(ids)) + 1
    return int(np.gcd.reduce([*ends, len(ids)]))


def varying(ids: Ints) -> list[int]:
    """The axes along which labels vary."""
    return [axis for axis, n in enumerate(ids.shape) if n > 1]


def expand(ids: Ints, axis: int, extent: int) -> Ints:
    """``ids`` with the full extent along ``axis``."""
    if ids.shape[axis] == extent:
        return ids
    shape = list(ids.shape)
    shape[axis] = extent
    return np.broadcast_to(ids, shape)


def transpose(labels: Labels, perm: Sequence[int]) -> Labels:
    """Axis ``k`` of the result is axis ``perm[k]``."""
    return Labels(tuple(labels.shape[p] for p in perm), labels.ids.transpose(perm))


def take(labels: Labels, axis: int, indices: Ints) -> Labels:
    """The slices ``indices (m,)`` along ``axis``."""
    shape = (*labels.shape[:axis], len(indices), *labels.shape[axis + 1 :])
    varies = labels.ids.shape[axis] > 1
    return Labels(shape, compress(labels.ids.take(indices, axis=axis)) if varies else labels.ids)


def tile(ids: Ints, times: Sequence[int]) -> Ints:
    """``ids`` repeated along every axis."""
    check_size(ids.size * prod(times))
    return np.tile(ids, times)


def concat(parts: Sequence[Labels], axis: int) -> Labels | None:
    """The parts in a row along ``axis``; None where an extent that matters is unknown."""
    extents = [p.shape[axis] for p in parts]
    rank = len(parts[0].shape)
    common = [max(p.ids.shape[a] for p in parts) for a in range(rank)]
    stated = [e for e in extents if e is not None]
    same = all(np.array_equal(p.ids, parts[0].ids) for p in parts) and common[axis] == 1
    if len(stated) < len(extents):
        if not same:
            return None
        total = None
    else:
        total = sum(stated)
    shape = tuple(
        total if a == axis else next((p.shape[a] for p in parts if p.shape[a] is not None), None)
        for a in range(rank)
    )
    if same:
        return Labels(shape, parts[0].ids)
    check_size(prod(sum(stated) if a == axis else common[a] for a in range(rank)))
    blocks = []
    for part, extent in zip(parts, stated, strict=True):
        want = [extent if a == axis else common[a] for a in range(rank)]
        blocks.append(np.broadcast_to(part.ids, want))
    return Labels(shape, compress(np.concatenate(blocks, axis=axis)))


def reshape(labels: Labels, shape: Shape) -> Labels | None:
    """The labels of a Reshape to ``shape``; None where an unknown extent hides how they move.

    Axes are matched in the smallest blocks of equal size, and only blocks along which labels vary
    are written out in full: ``(1, c, h, w) → (1, c, h·w)`` never touches ``h·w`` elements.
    """
    source, out_shape = [], []
    for ins, outs in _blocks(labels.shape, shape):
        varies = any(labels.ids.shape[a] > 1 for a in ins)
        if not varies:
            source += [1] * len(ins)
            out_shape += [1] * len(outs)
            continue
        full_in, full_out = [labels.shape[a] for a in ins], [shape[a] for a in outs]
        if None in full_in or None in full_out:
            return None
        source += [int(n or 0) for n in full_in]
        out_shape += [int(n or 0) for n in full_out]
    check_size(prod(source))
    ids = np.broadcast_to(labels.ids, source).reshape(out_shape)
    return Labels(shape, compress(ids))


def _blocks(a: Shape, b: Shape) -> list[tuple[range, range]]:
    """Matching runs of axes with equal products; unknown extents end in one common run."""
    head, i, j = _aligned(a, b)
    tail, p, q = _aligned(a[i:][::-1], b[j:][::-1])
    i_end, j_end = len(a) - p, len(b) - q
    middle = [(range(i, i_end), range(j, j_end))] if i < i_end or j < j_end else []
    back = [
        (range(len(a) - x.stop, len(a) - x.start), range(len(b) - y.stop, len(b) - y.start))
        for x, y in reversed(tail)
    ]
    return head + middle + back


def _aligned(a: Shape, b: Shape) -> tuple[list[tuple[range, range]], int, int]:
    """Blocks from the left on, as far as extents are known, and where they end in both shapes."""
    blocks: list[tuple[range, range]] = []
    i = j = 0
    while (end := _block_end(a[i:], b[j:])) is not None:
        p, q = i + end[0], j + end[1]
        blocks.append((range(i, p), range(j, q)))
        i, j = p, q
    return blocks, i, j


def _block_end(a: Shape, b: Shape) -> tuple[int, int] | None:
    """The least numbers of leading axes of both, above 0, with equal products; None if unknown."""
    p = q = 0
    x, y = 1, 1
    while p == 0 or q == 0 or x != y:
        grow_a = p == 0 or (q > 0 and x < y)
        axes, k = (a, p) if grow_a else (b, q)
        extent = axes[k] if k < len(axes) else None
        if extent is None:
            return None
        if grow_a:
            x, p = x * extent, p + 1
        else:
            y, q = y * extent, q + 1
    return p, q
