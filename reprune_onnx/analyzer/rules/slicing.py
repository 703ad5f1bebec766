"""Ops that join, cut out or pad along an axis: the labels are joined, cut out or padded alike."""

from __future__ import annotations

from math import prod

import numpy as np

from reprune_onnx.analyzer import labels as lab
from reprune_onnx.analyzer.drafts import CountDraft, SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Ints, Labels, Shape

Window = tuple[int, "int | None", int]


def concat(op: Op, w: Walk) -> Labels | None:
    """One after the other along ``axis``; a constant among them is cut along its channels too."""
    given = [i for i in range(len(op.inputs)) if op.has(i)]
    ranks = {
        len(w.constant_shape(op, i) if w.is_constant(op, i) else w.labels(op, i).shape)
        for i in given
    }
    if len(ranks) != 1:
        return None
    (rank,) = ranks
    axis = int(op.attrs.get("axis", 1)) % max(rank, 1)
    active = [w.labels(op, i) for i in given if w.is_activation(op, i)]
    vary = {a for x in active for a in lab.varying(x.ids)}
    parts = [
        _constant_part(op, w, (i, axis), active, vary) if w.is_constant(op, i) else w.labels(op, i)
        for i in given
    ]
    return lab.concat(parts, axis)


def _constant_part(
    op: Op, w: Walk, where: tuple[int, int], active: list[Labels], vary: set[int]
) -> Labels:
    """Labels of a constant: its own along ``axis``, those of what is beside it along others.

    Where labels vary nowhere yet, axis 1 is that of the channels.
    """
    i, axis = where
    shape = w.constant_shape(op, i)
    others = [a for a in vary if a != axis and shape[a] > 1]
    if (axis in vary or (not vary and axis == 1)) and active and not others and shape[axis] > 0:
        ids = w.space.fresh(shape[axis]).reshape(
            [-1 if a == axis else 1 for a in range(len(shape))]
        )
        along = [axis] if shape[axis] > 1 else []
    elif others and axis not in vary:
        beside = next(x.ids for x in active if len(lab.varying(x.ids)) == len(vary))
        ids, along = beside, others
    else:
        return w.labels(op, i)
    for a in along:
        w.site(SiteDraft(op, i, a, ids, a, "param"))
    return Labels(shape, ids)


def split(op: Op, w: Walk) -> list[Labels | None] | None:
    """Each part takes its labels; sizes that are not written down become so when parts differ."""
    x = w.labels(op)
    axis = int(op.attrs.get("axis", 0)) % len(x.shape)
    sizes = op.attrs.get("split")
    at = ("split", -1) if op.opset < 13 and not op.has(1) else ("", 1)  # opset 1 had an input, too
    if sizes is None and op.has(1):
        sizes = w.integers(op, 1)
        if sizes is None or None in sizes:
            return None
    extent = x.shape[axis]
    if sizes is None:
        parts = len(op.outputs)
        if extent is None:  # then labels do not vary along it
            return [Labels(x.shape, x.ids)] * parts
        step = -(-extent // parts)
        sizes = [min(step, extent - k * step) for k in range(parts)]
    outputs: list[Labels | None] = []
    start = 0
    for k, size in enumerate(sizes):
        stop = start + int(size)
        outputs.append(lab.take(x, axis, np.arange(start, stop)))
        w.count(CountDraft(op, *at, k, x.ids, axis, start, stop))
        start = stop
    return outputs


def slice_(op: Op, w: Walk) -> Labels | None:
    """``x[start:end:step]`` along each of ``axes``; bounds along channels follow their number."""
    x = w.labels(op)
    bounds = _bounds(op, w, len(x.shape))
    for i in (1, 2):
        if w.is_activation(op, i):
            w.lock(op, w.labels(op, i).ids, f"{op.title} reads these channels as a bound")
    if bounds is None:
        return None
    old = "starts" in op.attrs
    for k, (axis, start, end, step) in enumerate(bounds):
        extent = x.shape[axis]
        if _still(x, axis):
            x = Labels(_with(x.shape, axis, _length(extent, start, end, step)), x.ids)
            continue
        if start is None or end is None or extent is None:
            return None
        if step != 1:
            w.lock(op, x.ids, f"{op.title} takes channels in steps of {step}")
        low, high, _ = slice(start, end, step).indices(extent)
        at_start, at_end = (("starts", -1), ("ends", -1)) if old else (("", 1), ("", 2))
        for place, bound, position in ((at_start, start, low), (at_end, end, high)):
            if step == 1 and bound != 0 and -extent <= bound <= extent:
                first, last, sign = _window(bound, position)
                w.count(CountDraft(op, *place, k, x.ids, axis, first, last, sign))
        x = lab.take(x, axis, np.arange(extent)[slice(start, end, step)])
    return x


def gather(op: Op, w: Walk) -> Labels | None:
    """Constant indices along channels pick their labels and are renumbered."""
    x = w.labels(op)
    if not w.is_activation(op, 0):
        return None
    axis = int(op.attrs.get("axis", 0)) % len(x.shape)
    indices = w.constant(op, 1)
    if _still(x, axis):
        if w.is_activation(op, 1):
            w.lock(op, w.labels(op, 1).ids, f"{op.title} reads these channels as indices")
        inner: Shape = tuple(indices.shape) if indices is not None else _index_shape(op, w)
        shape = (*x.shape[:axis], *inner, *x.shape[axis + 1 :])
        ids = x.ids.reshape((*x.ids.shape[:axis], *[1] * len(inner), *x.ids.shape[axis + 1 :]))
        return Labels(shape, ids)
    if indices is None or indices.ndim > 1:
        return None
    extent = x.shape[axis] or 1
    flat = indices.astype(np.int64).reshape(-1) % extent
    picked = lab.take(x, axis, flat)
    if indices.ndim == 0:
        return _pick_one(op, w, x, picked, axis, _window(int(indices), int(flat[0])))
    w.site(SiteDraft(op, 1, 0, _full(x, axis, flat), axis, "param"))
    for k, index in enumerate(flat.tolist()):
        window = _window(int(indices.reshape(-1)[k]), index)
        w.count(CountDraft(op, "", 1, k, x.ids, axis, *window))
    return picked


def pad(op: Op, w: Walk) -> Labels | None:
    """Padding channels with a constant makes channels of its own, as many as the pads say."""
    x = w.labels(op)
    rank = len(x.shape)
    attribute = op.attrs.get("pads", op.attrs.get("paddings"))
    pads = list(attribute) if attribute is not None else w.integers(op, 1)
    if pads is None:
        return None
    axes = list(range(rank))
    if op.has(3):
        given = w.integers(op, 3)
        if given is None or None in given:
            return None
        axes = [int(a or 0) % rank for a in given]
    at = ("pads", -1) if attribute is not None else ("", 1)
    n = len(axes)
    for k, axis in enumerate(axes):
        before, after = pads[k], pads[n + k]
        extent = x.shape[axis]
        unknown = before is None or after is None or extent is None
        length = None if unknown else (extent or 0) + (before or 0) + (after or 0)
        if _still(x, axis) or (before == 0 and after == 0):
            x = Labels(_with(x.shape, axis, length), x.ids)
            continue
        by_constant = op.attrs.get("mode", b"constant") == b"constant"
        if unknown or not by_constant or min(before or 0, after or 0) < 0:
            return None
        x = _padded(w, x, axis, int(before or 0), int(after or 0))
        w.count(CountDraft(op, *at, k, x.ids, axis, 0, before))
        w.count(CountDraft(op, *at, n + k, x.ids, axis, int(before or 0) + int(extent or 0)))
    return x


def resize(op: Op, w: Walk) -> Labels | None:
    """Positions are resampled; channels keep their number."""
    x = w.labels(op)
    shape = w.shape(op) or (*x.shape[:2], *[None] * (len(x.shape) - 2))
    for axis in lab.varying(x.ids):
        if shape[axis] != x.shape[axis]:
            return None
    if op.has(3) and op.type == "Resize":
        axes = op.attrs.get("axes", range(len(x.shape)))
        for k, axis in enumerate(axes):
            w.count(CountDraft(op, "", 3, k, x.ids, int(axis) % len(x.shape)))
    return Labels(shape, x.ids)


def crop(op: Op, w: Walk) -> Labels:
    """The retired op Crop cuts positions off."""
    x = w.labels(op)
    return Labels((*x.shape[:2], *_cropped(op, x.shape)), w.flat(op, x.ids, (0, 1)))


def _cropped(op: Op, shape: Shape) -> Shape:
    left, top, right, bottom = op.attrs.get("border", [0, 0, 0, 0])
    h, v = shape[2:]
    if scale := op.attrs.get("scale"):
        return int(scale[0]), int(scale[1])
    return (None if h is None else h - top - bottom, None if v is None else v - left - right)


def _pick_one(op: Op, w: Walk, x: Labels, one: Labels, axis: int, window: Window) -> Labels:
    """A scalar index removes the axis: the others are tied to it, or the one channel must stay."""
    if len(lab.varying(x.ids)) > 1:
        w.space.tie_along(x.ids, (axis,))
    else:
        w.lock(op, one.ids, f"{op.title} picks this very channel")
        w.count(CountDraft(op, "", 1, 0, x.ids, axis, *window))
    kept = [a for a in range(len(x.shape)) if a != axis]
    ids = one.ids if one.ids.shape[axis] == 1 else one.ids.take([0], axis=axis)
    return Labels(tuple(one.shape[a] for a in kept), ids.reshape([ids.shape[a] for a in kept]))


def _padded(w: Walk, x: Labels, axis: int, before: int, after: int) -> Labels:
    """Channels of their own before and behind, one for each place along the other axes."""
    blocks = []
    for n in (before, after):
        shape = [n if a == axis else extent for a, extent in enumerate(x.ids.shape)]
        blocks.append(w.space.fresh(prod(shape)).reshape(shape))
    ids = np.concatenate([blocks[0], x.ids, blocks[1]], axis=axis)
    return Labels(_with(x.shape, axis, (x.shape[axis] or 0) + before + after), ids)


def _window(bound: int, position: int) -> Window:
    """The (start, stop, sign) of what a bound or index counts: what is before, or from it on."""
    return (0, position, 1) if bound >= 0 else (position, None, -1)


def _full(x: Labels, axis: int, flat: Ints) -> Ints:
    """The picked labels with the full extent along ``axis``, repeated indices included."""
    return x.ids.take(flat, axis=axis)


def _bounds(op: Op, w: Walk, rank: int) -> list[tuple[int, int | None, int | None, int]] | None:
    """(axis, start, end, step) of each sliced axis; None where axes or steps cannot be known."""
    if "starts" in op.attrs:
        starts, ends = list(op.attrs["starts"]), list(op.attrs["ends"])
        axes, steps = list(op.attrs.get("axes", range(len(starts)))), [1] * len(starts)
    else:
        bounds = [w.integers(op, i) for i in (1, 2)]
        n = next((len(b) for b in bounds if b is not None), None)
        given = w.integers(op, 3) if op.has(3) else None if n is None else list(range(n))
        if given is None or None in given:
            return None
        strides = w.integers(op, 4) if op.has(4) else [1] * len(given)
        if strides is None or None in strides:
            return None
        # bounds that depend on the image are unknown
        starts, ends = ([None] * len(given) if b is None else b for b in bounds)
        axes, steps = [int(a or 0) for a in given], [int(s or 0) for s in strides]
    return [(a % rank, s, e, t) for a, s, e, t in zip(axes, starts, ends, steps, strict=True)]


def _length(extent: int | None, start: int | None, end: int | None, step: int) -> int | None:
    if extent is None or start is None or end is None:
        return None
    return len(range(*slice(start, end, step).indices(extent)))


def _index_shape(op: Op, w: Walk) -> Shape:
    return w.labels(op, 1).shape


def _still(x: Labels, axis: int) -> bool:
    """Whether labels do not vary along ``axis``."""
    return int(x.ids.shape[axis]) == 1


def _with(shape: Shape, axis: int, extent: int | None) -> Shape:
    return (*shape[:axis], extent, *shape[axis + 1 :])
