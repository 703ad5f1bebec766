"""Ops that compute each element from the elements at the same place: labels pass, or are tied."""

from __future__ import annotations

import numpy as np

from reprune_onnx.analyzer.drafts import ResidualAdd, SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import compress, varying
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Ints, Labels, Shape


def dropout(op: Op, w: Walk) -> list[Labels | None] | None:
    """Labels pass unchanged, unless it may be in training: then its numbers are random."""
    training = w.constant(op, 2)
    return None if op.has(2) and (training is None or training.any()) else unary(op, w)


def unary(op: Op, w: Walk) -> list[Labels | None]:
    """Labels pass unchanged; further inputs (Clip's bounds) are one number for all channels."""
    for i in range(1, len(op.inputs)):
        if w.is_activation(op, i):
            w.lock(op, w.labels(op, i).ids, f"{op.title} reads these channels as a parameter")
    return [w.labels(op) for _ in op.outputs]


def cast_like(op: Op, w: Walk) -> Labels:
    """The labels of the first input pass; of the second only the type is read."""
    return w.labels(op)


def image_scaler(op: Op, w: Walk) -> Labels:
    """The retired op ImageScaler adds a list of numbers, one per channel, which is never cut."""
    x = w.labels(op)
    w.lock(op, x.ids, f"{op.title} has one bias per channel in an attribute, which is not cut")
    return x


def affine(op: Op, w: Walk) -> Labels | None:
    """The retired op Affine scales by one number, unless it is given a list."""
    one_number = all(np.isscalar(op.attrs.get(a, 0.0)) for a in ("alpha", "beta"))
    return w.labels(op) if one_number else None


def prelu(op: Op, w: Walk) -> Labels | None:
    """The slope is broadcast to the input: one value per channel, or one for all.

    Before opset 7 one axis is that of the channels, the second.
    """
    if op.opset >= 7 or not op.has(1) or len(_shape(op, w, 1)) != 1:
        return _met(op, w, 0)
    return _met(op, w, len(w.labels(op).shape) - 2)


def residual_add(op: Op, w: Walk) -> Labels | None:
    """Add, Sub and Sum: like any element-wise op, and noted where they tie different producers."""
    activations = [w.labels(op, i) for i in range(len(op.inputs)) if w.is_activation(op, i)]
    before = [w.space.roots(x.ids) for x in activations]
    result = elementwise(op, w)
    if result is not None:
        met = [
            x.ids
            for x, roots in zip(activations, before, strict=True)
            if varying(x.ids) and not np.array_equal(roots, w.space.roots(x.ids))
        ]
        if met:
            w.adds.append(ResidualAdd(op, tuple(x.ids for x in activations if varying(x.ids))))
    return result


def elementwise(op: Op, w: Walk) -> Labels | None:
    """Tie the labels of all activations place by place; constants get a site per varying axis.

    Before opset 7 the second operand may lie over the first from an ``axis`` on.
    """
    axis = op.attrs.get("axis") if op.opset < 7 and op.attrs.get("broadcast") else None
    if axis is None:
        return _met(op, w, 0)
    rank, other_rank = (len(_shape(op, w, i)) for i in (0, 1))
    return _met(op, w, rank - axis % rank - other_rank) if rank else None


def _met(op: Op, w: Walk, behind: int) -> Labels | None:
    """``behind`` axes of 1 come behind those of the second operand."""
    if behind < 0:
        return None
    operands = [i for i in range(len(op.inputs)) if op.has(i)]
    ones = {i: (1,) * (behind if i == 1 else 0) for i in operands}
    active = [i for i in operands if w.is_activation(op, i)]
    shape = broadcast([(*_shape(op, w, i), *ones[i]) for i in operands])
    if shape is None:
        return None
    ids = _tie(op, w, {i: ones[i] for i in active}, shape)
    for i in operands:
        if w.is_constant(op, i):
            _site(op, w, i, ids, len(ones[i]))
    return Labels(shape, ids)


def _shape(op: Op, w: Walk, i: int) -> Shape:
    return w.constant_shape(op, i) if w.is_constant(op, i) else w.labels(op, i).shape


def _tie(op: Op, w: Walk, active: dict[int, Shape], shape: Shape) -> Ints:
    """Tie the operands place by place, each with axes of 1 behind; the labels of the result."""
    operands = []
    for i, ones in active.items():
        x = w.labels(op, i)
        lead = (1,) * (len(shape) - len(x.shape) - len(ones))
        operands.append((x.ids.reshape((*lead, *x.ids.shape, *ones)), (*lead, *x.shape, *ones)))
    return tied(op, w, operands)


def tied(op: Op, w: Walk, operands: list[tuple[Ints, Shape]]) -> Ints:
    """Tie labels of one rank, each with the shape of its operand; the labels of the result."""
    extent = np.broadcast_shapes(*(ids.shape for ids, _ in operands))
    together: list[Ints] = []
    for ids, shape in operands:
        # One channel that meets all channels of another operand is not tied to them: it stays.
        spread = any(n > 1 and m == 1 for n, m in zip(extent, shape, strict=True))
        if spread and not varying(ids):
            reason = f"{op.title} spreads this one channel over all channels of another input"
            w.lock(op, ids, reason)
        else:
            together.append(ids)
    for ids in together[1:]:
        w.space.tie(together[0], ids)
    made = max(together, key=lambda ids: ids.size)
    # What was told apart along another axis, as a class token beside places, may be tied by now.
    return compress(w.space.roots(made)) if len(varying(made)) > 1 else made


def _site(op: Op, w: Walk, i: int, ids: Ints, behind: int) -> None:
    """Every axis of the constant that has an extent carries the labels at that place.

    Axes of 1, as many as ``behind``, follow those of the constant.
    """
    constant = w.constant_shape(op, i)
    lead = ids.ndim - behind - len(constant)
    for axis, n in enumerate(constant):
        if n > 1 and ids.shape[lead + axis] > 1:
            w.site(SiteDraft(op, i, axis, ids, lead + axis, "param"))


def broadcast(shapes: list[Shape]) -> Shape | None:
    """The shape of an element-wise result; None where extents contradict each other."""
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    out: list[int | None] = []
    for extents in zip(*padded, strict=True):
        wide = {n for n in extents if n not in (1, None)}
        if len(wide) > 1:
            return None
        out.append(wide.pop() if wide else (None if None in extents else 1))
    return tuple(out)
