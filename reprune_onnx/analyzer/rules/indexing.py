"""Ops that read or write at places that other activations tell: channels pass along other axes."""

from __future__ import annotations

from reprune_onnx.analyzer.drafts import SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import varying
from reprune_onnx.analyzer.rules.elementwise import tied
from reprune_onnx.analyzer.rules.normalization import mix
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Ints, Labels, Shape


def gather_nd(op: Op, w: Walk) -> Labels | None:
    """Indices address the first axes; the channels of those behind pass."""
    depth = _shape(op, w, 1)[-1]
    if not w.is_activation(op, 0) or depth is None:
        return None
    x, indices = w.labels(op), _shape(op, w, 1)
    first = int(op.attrs.get("batch_dims", 0)) + depth
    _lock_places(op, w, 1)
    if _addresses_channels(x, range(first)):
        return None
    lead = indices[:-1]
    ids = x.ids.reshape(x.ids.shape[first:])
    return Labels((*lead, *x.shape[first:]), ids.reshape((1,) * len(lead) + ids.shape))


def scatter_nd(op: Op, w: Walk) -> Labels | None:
    """Indices address the first axes; the channels of those behind are tied to the updates'."""
    depth, lead = _shape(op, w, 1)[-1], len(_shape(op, w, 1)) - 1
    _lock_places(op, w, 1)
    if depth is None or not _all_followed(op, w, (0, 2)):
        return None
    parts = {0: (depth, _shape(op, w, 0)), 2: (lead, _shape(op, w, 2))}
    for i, (first, _) in parts.items():
        if w.is_activation(op, i) and _addresses_channels(w.labels(op, i), range(first)):
            return None
    ids = _joined(op, w, parts)
    return Labels(_shape(op, w, 0), ids.reshape((1,) * depth + ids.shape))


def gather_elements(op: Op, w: Walk) -> Labels | None:
    """Data and indices are tied along all axes but ``axis``, which indices address."""
    return _elements(op, w, (0, 1))


def scatter_elements(op: Op, w: Walk) -> Labels | None:
    """Data, indices and updates are tied along all axes but ``axis``, which indices address."""
    return _elements(op, w, (0, 1, 2))


def grid_sample(op: Op, w: Walk) -> Labels:
    """Positions are read at the places of a grid, from all channels alike."""
    x = w.labels(op)
    ids = w.flat(op, x.ids, (1,))
    sides = _shape(op, w, 1)[1:-1] or (None,) * (len(x.shape) - 2)  # of an unknown rank: none
    _lock_places(op, w, 1)
    return Labels((x.shape[0], x.shape[1], *sides), ids)


def top_k(op: Op, w: Walk) -> list[Labels | None]:
    """The largest along ``axis``, of each channel by itself; among channels they are mixed."""
    rank = len(w.labels(op).shape)
    axis = int(op.attrs.get("axis", -1)) % rank
    x = mix(op, w, [axis])
    if w.is_activation(op, 1):
        w.lock(op, w.labels(op, 1).ids, f"{op.title} reads these channels as a number of elements")
    shape = w.shape(op) or tuple(None if a == axis else n for a, n in enumerate(x.shape))
    return [Labels(shape, x.ids)] * 2 if axis not in varying(x.ids) else [None, None]


def _elements(op: Op, w: Walk, operands: tuple[int, ...]) -> Labels | None:
    """The labels of the first operand, tied to the others' along all axes but ``axis``."""
    shapes = {i: _shape(op, w, i) for i in operands}
    rank = len(shapes[0])
    axis = int(op.attrs.get("axis", 0)) % max(rank, 1)
    if any(len(shape) != rank for shape in shapes.values()) or not _all_followed(op, w, operands):
        return None
    active = {i: w.labels(op, i) for i in operands if w.is_activation(op, i)}
    vary = {a for x in active.values() for a in varying(x.ids)}
    if axis in vary:
        return None
    if any(len({shape[a] for shape in shapes.values()}) > 1 for a in vary):
        return None
    ids = _joined(op, w, {i: (0, shape) for i, shape in shapes.items()})
    return Labels(shapes[operands[-1] if len(operands) == 2 else 0], ids)


def _joined(op: Op, w: Walk, parts: dict[int, tuple[int, Shape]]) -> Ints:
    """Tie the operands ``{input: (first axis, shape)}`` from their first axes on; their labels."""
    operands = []
    for i, (first, shape) in parts.items():
        if w.is_activation(op, i):
            ids = w.labels(op, i).ids
            operands.append((ids.reshape(ids.shape[first:]), shape[first:]))
    joined = tied(op, w, operands)
    for i, (first, _) in parts.items():
        if w.is_constant(op, i):
            constant = w.constant_shape(op, i)
            for a in varying(joined):
                if constant[first + a] > 1:
                    w.site(SiteDraft(op, i, first + a, joined, a, "param"))
    return joined


def _all_followed(op: Op, w: Walk, operands: tuple[int, ...]) -> bool:
    """Whether all are activations or constants, and one at least an activation."""
    active = [i for i in operands if w.is_activation(op, i)]
    return bool(active) and all(i in active or w.is_constant(op, i) for i in operands)


def _addresses_channels(x: Labels, axes: range) -> bool:
    return bool(set(varying(x.ids)) & set(axes))


def _lock_places(op: Op, w: Walk, i: int) -> None:
    if w.is_activation(op, i):
        w.lock(op, w.labels(op, i).ids, f"{op.title} reads these channels as places")


def _shape(op: Op, w: Walk, i: int) -> Shape:
    return w.constant_shape(op, i) if w.is_constant(op, i) else w.labels(op, i).shape
