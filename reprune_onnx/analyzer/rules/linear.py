"""Gemm, MatMul and Einsum: a product with a constant matrix, along the channels, is a layer."""

from __future__ import annotations

from math import prod

from reprune_onnx.analyzer.drafts import LayerDraft, PassingDraft, SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import expand, varying
from reprune_onnx.analyzer.rules.products import Terms, matmul_terms, product
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Ints, Labels


def gemm(op: Op, w: Walk) -> Labels | None:
    """``Y = A·B + C`` with a constant matrix B ``(k, n)`` (``transB``: ``(n, k)``)."""
    if not w.is_constant(op, 1):
        left = "km" if op.attrs.get("transA", 0) else "mk"
        right = "nk" if op.attrs.get("transB", 0) else "kn"
        if op.has(2):
            return None
        if w.is_constant(op, 0):
            _count(op, w, 1, (left, right, "mn"))
        return _product(op, w, (left, right, "mn"))
    a = w.labels(op)
    k_axis = 0 if op.attrs.get("transA", 0) else 1
    in_axis = 1 if op.attrs.get("transB", 0) else 0
    out = _apply(op, w, a.ids, k_axis, in_axis)
    rows = a.shape[1 - k_axis]
    positions = 0 if rows is None else 1  # regions, as many as the image has
    w.layers.append(LayerDraft(op, 1, w.constant_shape(op, 1), 1 - in_axis, out, 1, positions))
    if op.has(2):
        c = w.constant_shape(op, 2) if w.is_constant(op, 2) else (len(out),)
        if c and c[-1] > 1:
            w.site(SiteDraft(op, 2, len(c) - 1, out, 0, "param"))
    return Labels((rows, len(out)), out.reshape(1, -1))


def matmul(op: Op, w: Walk, in_axis: int = 0) -> Labels | None:
    """``Y = A·B``: a constant matrix B is a layer, unless channels lie along other axes only.

    Then, and where two activations are multiplied, they pass, or are tied where both have channels.
    """
    a = w.labels(op)
    rank = len(a.shape)
    matrix = w.is_constant(op, 1) and len(w.constant_shape(op, 1)) == 2
    if matrix:
        a = Labels(a.shape, w.space.tie_positions(a.ids, rank - 1))
    if not matrix or (in_axis == 0 and not _is_layer(a, w)):
        ranks = [
            len(w.constant_shape(op, i) if w.is_constant(op, i) else w.labels(op, i).shape)
            for i in (0, 1)
        ]
        terms = matmul_terms(*ranks)
        for i in (0, 1):
            if w.is_constant(op, 1 - i):
                _count(op, w, i, terms)
        return _product(op, w, terms)
    out = _apply(op, w, a.ids, rank - 1, in_axis)
    lead = a.shape[1:-1]
    positions = 0 if None in a.shape[:-1] else prod(n or 0 for n in lead)
    w.layers.append(LayerDraft(op, 1, w.constant_shape(op, 1), 1 - in_axis, out, 1, positions))
    return Labels((*a.shape[:-1], len(out)), out.reshape(*[1] * (rank - 1), -1))


def einsum(op: Op, w: Walk) -> Labels | None:
    """The product with a constant matrix, such as ``bchw,oc->bohw``, is a layer; see MatMul."""
    terms = einsum_terms(op)
    shape = w.shape(op)
    if terms is None or shape is None or not w.is_constant(op, 1):
        return _product(op, w, terms)
    a, b, out = terms
    summed = [i for i in b if i in a and i not in out]
    fresh = [i for i in b if i in out and i not in a]
    if len(b) != 2 or len(summed) != 1 or len(fresh) != 1 or set(a) - {summed[0]} - set(out):
        return _product(op, w, terms)
    x = w.labels(op)
    made = _apply(op, w, x.ids, a.index(summed[0]), b.index(summed[0]))
    axis = out.index(fresh[0])
    lead = [n for k, n in enumerate(shape[1:], start=1) if k != axis]
    positions = 0 if None in lead else prod(n or 0 for n in lead)
    out_axis = b.index(fresh[0])
    w.layers.append(LayerDraft(op, 1, w.constant_shape(op, 1), out_axis, made, 1, positions))
    return Labels(shape, made.reshape([-1 if k == axis else 1 for k in range(len(shape))]))


def einsum_terms(op: Op) -> Terms | None:
    """The indices of two operands and the result, each index once; None for other equations."""
    equation = op.attrs.get("equation", b"").decode().replace(" ", "")
    operands, arrow, out = equation.partition("->")
    terms = operands.split(",")
    two_operands = len(terms) == 2 and bool(arrow) and "." not in equation
    if not two_operands or any(len(set(t)) < len(t) for t in (*terms, out)):
        return None
    return terms[0], terms[1], out


def _apply(op: Op, w: Walk, ids: Ints, k_axis: int, in_axis: int) -> Ints:
    """State the sites of the matrix; what varies elsewhere than along the summed axis stays."""
    weight = w.constant_shape(op, 1)
    others = [x for x in varying(ids) if x != k_axis]
    if others:
        reason = f"{op.title} has channels along another axis than the one it sums over"
        w.lock(op, ids, reason)
    k = w.flat(op, ids, (k_axis,)).reshape(-1)
    out = w.space.fresh(weight[1 - in_axis])
    w.site(SiteDraft(op, 1, in_axis, expand(k, 0, weight[in_axis]), 0, "in"))
    w.site(SiteDraft(op, 1, 1 - in_axis, out, 0, "out"))
    return out


def _count(op: Op, w: Walk, i: int, terms: Terms) -> None:
    """Note the multiply-adds of a constant that meets operand ``i``, one share for each label.

    They are the product of all extents but that of the images: the first of three axes or more, or
    the rows ``m`` of a matrix, unless these are the channels.
    """
    x, letters = w.labels(op, i), terms[i]
    if len(x.shape) != len(letters):
        return
    other = dict(zip(terms[1 - i], w.constant_shape(op, 1 - i), strict=False))
    images = (len(letters) > 2 or letters == "mk") and x.ids.shape[0] == 1
    w.passing.append(PassingDraft(op, i, x.ids.ravel(), letters, int(images), x.shape, other))


def _is_layer(a: Labels, w: Walk) -> bool:
    """Whether the channels lie along the rows of the matrix, or none could go anyway."""
    return set(varying(a.ids)) <= {len(a.shape) - 1} or bool(w.space.locked(a.ids).all())


def _product(op: Op, w: Walk, terms: Terms | None) -> Labels | None:
    """A product that is not a layer: what cannot be followed stays."""
    made = None if terms is None else product(op, w, terms)
    if made is not None:
        return made
    for i in range(len(op.inputs)):
        if w.is_activation(op, i):
            w.lock(op, w.labels(op, i).ids, f"{op.title} {_why_not(op, w, terms)}")
    shape = w.shape(op)
    return None if shape is None else w.fixed(op, shape, f"{op.title} mixes channels")


def _why_not(op: Op, w: Walk, terms: Terms | None) -> str:
    """The reason why such a product is not followed, as the predicate of a sentence."""
    if terms is None:
        return "has an equation that is not followed"
    kinds = [(w.is_activation(op, i), w.is_constant(op, i)) for i in range(len(op.inputs))]
    if not all(any(kind) for kind in kinds):
        return "multiplies these channels with numbers that are computed from sizes"
    if not all(active for active, _ in kinds):
        return "multiplies these channels with a constant whose shape does not fit the file"
    return "multiplies activations with each other"
