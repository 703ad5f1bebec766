"""Products that are no layers: of two activations, or with a constant that channels pass by.

Every such product is a sum over some axes of both operands, as Einsum writes it: MatMul is
``bmk,bkn->bmn``. Along the other axes it computes like an element-wise product that broadcasts.
"""

from __future__ import annotations

import numpy as np

from reprune_onnx.analyzer.drafts import SiteDraft, SummedDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import compress, expand, varying
from reprune_onnx.analyzer.rules.elementwise import broadcast, tied
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Ints, Labels, Shape

Terms = tuple[str, str, str]
"""The axes of two operands and of the result, a letter each."""


def product(op: Op, w: Walk, terms: Terms, seen: dict[int, Labels] | None = None) -> Labels | None:
    """Channels pass along axes that are kept; along summed ones whole rows go from both operands.

    A constant that is summed with channels is cut along them. ``seen`` are the labels along the
    axes of ``terms`` of activations whose own axes are others.
    """
    seen = seen or {}
    *operands, out = terms
    summed = "".join(dict.fromkeys(x for term in operands for x in term if x not in out))
    letters = out + summed
    active = [i for i in (0, 1) if w.is_activation(op, i)]
    if not all(i in active or w.is_constant(op, i) for i in (0, 1)):
        return None
    given = {i: seen.get(i) or w.labels(op, i) for i in active}
    extents = [given[i].shape if i in given else w.constant_shape(op, i) for i in (0, 1)]
    if any(len(operands[i]) != len(extents[i]) for i in (0, 1)):
        return None
    shapes = [_aligned(extents[i], operands[i], letters, 1) for i in (0, 1)]
    shape = broadcast(shapes)
    if shape is None:
        return None
    ids = {i: _arranged(x.ids, operands[i], letters) for i, x in given.items()}
    axes = dict(enumerate(summed, start=len(out)))
    if len(active) == 2:
        for axis in axes:
            if all(ids[i].shape[axis] > 1 for i in active):
                w.space.tie(*ids.values())  # both go with a channel, along whichever axes
                ids = {i: compress(w.space.roots(x)) for i, x in ids.items()}
                if _places_serve(w, ids[0], axis):  # both are the same now
                    ids = {
                        i: w.space.tie_along(x, [a for a in varying(x) if a != axis])
                        for i, x in ids.items()
                    }
                break
    ids = {i: _summed(op, w, ids, i, axes, operands[1 - i]) for i in active}
    apart = [set(varying(x)) for x in ids.values()]
    if len(apart) == 2 and not (apart[0] <= apart[1] or apart[1] <= apart[0]):
        shared = apart[0] & apart[1]
        if not shared:
            return None
        # Each channel of one meets each of the other: what lies at one shared place goes together.
        own_axes = {i: [a for a in varying(x) if a not in shared] for i, x in ids.items()}
        ids = {i: w.space.tie_along(x, own_axes[i]) for i, x in ids.items()}
    result = tied(op, w, [(ids[i], _kept(shapes[i], len(out))) for i in active])
    for i in {0, 1} - set(active):
        _sites(op, w, i, operands[i], result, letters)
    n = len(out)
    return Labels(shape[:n], result.reshape(result.shape[:n]))


def matmul_terms(a: int, b: int) -> Terms:
    """The axes of MatMul's operands, of ranks ``a`` and ``b``, and of its result."""
    batch = "abcdefghij"[: max(a, b, 2) - 2]
    left = (batch[len(batch) - (a - 2) :] + "mk") if a > 1 else "k"
    right = (batch[len(batch) - (b - 2) :] + "kn") if b > 1 else "k"
    return left, right, batch + "m" * (a > 1) + "n" * (b > 1)


def _places_serve(w: Walk, ids: Ints, axis: int) -> bool:
    """Whether the same places along ``axis`` of all sums leave more units than whole sums do.

    Else what meets in one sum goes together, as the channels of a head.
    """
    n = ids.shape[axis]
    if n in (1, ids.size):
        return False
    rows = np.moveaxis(ids, axis, 0).reshape(n, -1)
    return w.space.free_rows([rows]) > w.space.free_rows([rows.T])


def _summed(
    op: Op, w: Walk, ids: dict[int, Ints], i: int, axes: dict[int, str], other_term: str
) -> Ints:
    """The labels of operand ``i`` once the sum along ``axes`` is taken, whose letters they name.

    ``other_term`` are the letters of the other operand's axes.
    """
    labels = ids[i]
    along = [axis for axis in axes if labels.shape[axis] > 1]
    if not along:
        return labels
    if set(varying(labels)) - set(along):  # what meets in one sum goes together
        return w.space.tie_along(labels, along)
    other = 1 - i
    letter = axes[along[0]]
    if other in ids and np.array_equal(w.space.roots(ids[other]), w.space.roots(labels)):
        w.summed.append(SummedDraft(op, i))
    elif len(along) == 1 and w.is_constant(op, other) and letter in other_term:
        axis = other_term.index(letter)
        channels = expand(labels.reshape(-1), 0, w.constant_shape(op, other)[axis])
        w.site(SiteDraft(op, other, axis, channels, 0, "in"))
    else:
        w.lock(op, labels, f"{op.title} sums over the channels, with no weight that could be cut")
    return w.fixed(op, (1,) * labels.ndim, f"{op.title} mixes channels").ids


def _sites(op: Op, w: Walk, i: int, term: str, ids: Ints, letters: str) -> None:
    """Every axis of the constant that has an extent carries the labels of the result there."""
    for axis, letter in enumerate(term):
        along = letters.index(letter)
        if w.constant_shape(op, i)[axis] > 1 and ids.shape[along] > 1:
            w.site(SiteDraft(op, i, axis, ids, along, "param"))


def _aligned(shape: Shape, term: str, letters: str, missing: int) -> tuple[int | None, ...]:
    """The extents ``shape`` of the axes ``term`` among all ``letters``."""
    return tuple(shape[term.index(x)] if x in term else missing for x in letters)


def _arranged(ids: Ints, term: str, letters: str) -> Ints:
    """The labels with the axes ``term`` in the order of ``letters``, and extent 1 along others."""
    order = sorted(range(len(term)), key=lambda axis: letters.index(term[axis]))
    arranged: Ints = ids.transpose(order).reshape(_aligned(ids.shape, term, letters, 1))
    return arranged


def _kept(shape: Shape, n: int) -> Shape:
    return (*shape[:n], *[1] * (len(shape) - n))
