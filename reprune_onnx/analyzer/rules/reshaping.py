"""Ops that rearrange all elements: the labels are rearranged the same way."""

from __future__ import annotations

from math import prod

import numpy as np

from reprune_onnx.analyzer import labels as lab
from reprune_onnx.analyzer.drafts import CountDraft, SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.made_of_none import is_wide
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Ints, Labels, Shape


def reshape(op: Op, w: Walk) -> Labels | None:
    """The target's elements that are channel counts follow them; -1 and 0 follow by themselves."""
    x = w.labels(op)
    attribute = op.attrs.get("shape")
    target = attribute if attribute is not None else w.integers(op, 1)
    if target is None:
        return None
    copies = not op.attrs.get("allowzero", 0)
    shape = _target(x.shape, list(target), copies)
    result = lab.reshape(x, shape)
    if result is None:
        return None
    for k, value in enumerate(target):
        if value == -1:
            continue
        if value == 0 and copies:
            if not np.array_equal(_axis(x, k), _axis(result, k)):
                reason = f"{op.title} copies extent {k}, where its result has other channels"
                w.lock(op, x.ids, reason)
        else:
            at = ("shape", -1) if attribute is not None else ("", 1)
            w.count(CountDraft(op, *at, k, result.ids, k))
    return result


def flatten(op: Op, w: Walk) -> Labels | None:
    """To a matrix: axes before ``axis`` are rows."""
    x = w.labels(op)
    axis = int(op.attrs.get("axis", 1))
    axis += len(x.shape) if axis < 0 else 0
    return lab.reshape(x, (_product(x.shape[:axis]), _product(x.shape[axis:])))


def squeeze(op: Op, w: Walk) -> Labels | None:
    """Axes of extent 1 go."""
    x = w.labels(op)
    axes = _axes(op, w)
    if axes is None and (op.has(1) or None in x.shape):
        return None
    rank = len(x.shape)
    gone = {a % rank for a in axes} if axes is not None else _ones(x.shape)
    kept = [a for a in range(rank) if a not in gone]
    return Labels(tuple(x.shape[a] for a in kept), x.ids.reshape([x.ids.shape[a] for a in kept]))


def unsqueeze(op: Op, w: Walk) -> Labels | None:
    """Axes of extent 1 come."""
    x, axes = w.labels(op), _axes(op, w)
    if axes is None:
        return None
    rank = len(x.shape) + len(axes)
    new = {a % rank for a in axes}
    extents, ids = iter(x.shape), iter(x.ids.shape)
    shape = tuple(1 if a in new else next(extents) for a in range(rank))
    return Labels(shape, x.ids.reshape([1 if a in new else next(ids) for a in range(rank)]))


def transpose(op: Op, w: Walk) -> Labels:
    """Axis k of the output is axis ``perm[k]`` of the input."""
    x = w.labels(op)
    return lab.transpose(x, list(op.attrs.get("perm", range(len(x.shape))[::-1])))


def expand(op: Op, w: Walk) -> Labels | None:
    """Axes of extent 1 are repeated; elements that equal a channel count follow it."""
    x, target = _repeated(op, w), w.integers(op, 1)
    if target is None:
        return None
    rank = max(len(x.shape), len(target))
    extents = (1,) * (rank - len(x.shape)) + tuple(x.shape)
    want = [1] * (rank - len(target)) + list(target)
    shape = tuple(
        b if a == 1 else (a if b in (1, a, None) else None)
        for a, b in zip(extents, want, strict=True)
    )
    ids = x.ids.reshape((1,) * (rank - len(x.shape)) + x.ids.shape)
    ids = _spread(op, w, extents, ids)
    for k in range(len(target)):
        axis = rank - len(target) + k
        if want[axis] != 1:
            w.count(CountDraft(op, "", 1, k, ids, axis))
    return Labels(shape, ids)


def _repeated(op: Op, w: Walk) -> Labels:
    """The labels of what is repeated; a constant has its own, along each axis with an extent."""
    if w.is_activation(op, 0) or not is_wide(w.graph, op.inputs[0]):
        return w.labels(op)
    shape = w.constant_shape(op, 0)
    lab.check_size(prod(shape))
    ids = w.space.fresh(prod(shape)).reshape(shape)
    for axis in lab.varying(ids):
        w.site(SiteDraft(op, 0, axis, ids, axis, "param"))
    return Labels(shape, ids)


def _spread(op: Op, w: Walk, extents: Shape, ids: Ints) -> Ints:
    """Axes of which an element of the target is the number of channels have these."""
    rank, n = len(extents), len(w.integers(op, 1) or ())
    for k in range(n):
        axis, channels = rank - n + k, w.counted(op, 1, k)
        if channels is None or extents[axis] not in (1, len(channels)):
            continue
        line = channels.reshape([-1 if a == axis else 1 for a in range(rank)])
        if ids.shape[axis] > 1:
            w.space.tie(ids, line)
        if ids.size > 1 or (extents[axis] != 1 and not w.is_constant(op, 0)):
            continue
        if extents[axis] != 1:
            place = axis - rank + len(w.constant_shape(op, 0))
            w.site(SiteDraft(op, 0, place, channels, 0, "param"))
        elif not w.space.locked(ids).all():
            reason = f"{op.title} spreads this one channel over all channels of another input"
            w.lock(op, ids, reason)
        return line
    return ids


def constant_of_shape(op: Op, w: Walk) -> Labels | None:
    """One number everywhere: an axis has the channels that its size is the number of."""
    sizes = w.integers(op, 0)
    lines = [w.counted(op, 0, k) for k in range(len(sizes or ()))]
    axes = [k for k, channels in enumerate(lines) if channels is not None]
    if sizes is None or len(axes) != 1:
        return None
    (axis,) = axes
    ids = np.asarray(lines[axis]).reshape([-1 if a == axis else 1 for a in range(len(sizes))])
    for k in range(len(sizes)):
        w.count(CountDraft(op, "", 0, k, ids, k))
    return Labels(tuple(sizes), ids)


def tile(op: Op, w: Walk) -> Labels | None:
    """The whole is repeated along each axis, labels included."""
    x, repeats = _repeated(op, w), w.integers(op, 1)
    if repeats is None or len(repeats) != len(x.shape):
        return None
    shape = tuple(
        None if a is None or r is None else a * r for a, r in zip(x.shape, repeats, strict=True)
    )
    times = [r if n > 1 else 1 for n, r in zip(x.ids.shape, repeats, strict=True)]
    if None in times:
        return None
    return Labels(shape, lab.tile(x.ids, [t or 1 for t in times]))


def depth_to_space(op: Op, w: Walk) -> Labels:
    """Blocks of ``b²`` channels become one channel: each block stays or goes as a whole."""
    x = w.labels(op)
    b = int(op.attrs["blocksize"])
    n = (x.shape[1] or 0) // (b * b)
    ids = lab.expand(w.flat(op, x.ids, (1,)).reshape(-1), 0, n * b * b)
    columns = op.attrs.get("mode", b"DCR") == b"DCR"
    blocks = ids.reshape(b * b, n) if columns else ids.reshape(n, b * b).T
    out = w.space.tie_along(blocks, (0,)).reshape(1, n, 1, 1)
    return Labels(w.shape(op) or (x.shape[0], n, None, None), lab.compress(out))


def space_to_depth(op: Op, w: Walk) -> Labels:
    """Each channel becomes ``b²`` channels, block by block."""
    x = w.labels(op)
    b = int(op.attrs["blocksize"])
    n = x.shape[1] or 0
    ids = lab.tile(lab.expand(w.flat(op, x.ids, (1,)), 1, n), (1, b * b, 1, 1))
    return Labels(w.shape(op) or (x.shape[0], n * b * b, None, None), lab.compress(ids))


def _target(extents: Shape, target: list[int | None], copies: bool) -> Shape:
    shape: list[int | None] = [
        extents[k] if v == 0 and copies and k < len(extents) else v for k, v in enumerate(target)
    ]
    if -1 in shape:
        rest = [n for n in shape if n != -1]
        hole = shape.index(-1)
        shape[hole] = None
        if None not in rest and None not in extents:
            others = prod(n or 0 for n in rest)
            shape[hole] = prod(n or 0 for n in extents) // others if others else 0
    return tuple(shape)


def _axis(x: Labels, axis: int) -> list[list[int]]:
    """The labels at each place along an axis, to compare two arrays; empty where all are alike."""
    if axis >= len(x.shape) or x.ids.shape[axis] == 1:
        return []
    moved = np.moveaxis(x.ids, axis, 0)
    return [sorted(set(row.ravel().tolist())) for row in moved]


def _axes(op: Op, w: Walk) -> list[int] | None:
    if "axes" in op.attrs:
        return [int(a) for a in op.attrs["axes"]]
    given = w.integers(op, 1)
    return None if given is None or None in given else [int(a or 0) for a in given]


def _ones(shape: Shape) -> set[int]:
    return {a for a, n in enumerate(shape) if n == 1}


def _product(extents: Shape) -> int | None:
    return None if None in extents else prod(n or 0 for n in extents)
