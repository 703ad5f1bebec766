"""Conv and ConvTranspose whose kernel is an activation: correlation, as trackers compute it.

In ``g`` groups it is a product along the channels, ``agm,gpm->agp``: of ``m`` input channels and
``p`` output channels per group; ``a`` is the batch. What windows do to positions is no matter here.
"""

from __future__ import annotations

from reprune_onnx.analyzer import labels as lab
from reprune_onnx.analyzer.drafts import CountDraft, SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.rules.products import Terms, product
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Labels, Shape

_TERMS: dict[str, Terms] = {
    "Conv": ("agm", "gpm", "agp"),
    "ConvTranspose": ("agm", "gmp", "agp"),
}


def correlate(op: Op, w: Walk) -> Labels | None:
    """Channels of one each are tied to the kernel's and pass; those that are summed go from both.

    The kernel is ``(g·p, m, *k)``, of a ConvTranspose ``(g·m, p, *k)``.
    """
    if not (w.is_activation(op, 0) and w.is_activation(op, 1)):
        return None
    x, kernel = w.labels(op), w.labels(op, 1)
    if len(x.shape) != len(kernel.shape) or len(x.shape) < 2:
        return None
    g = int(op.attrs.get("group", 1))
    channels, (rows, columns) = x.shape[1], kernel.shape[:2]
    if None in (channels, rows, columns):
        return None
    terms = _TERMS[op.type]
    seen = {
        0: _viewed(op, w, x, (1,), (x.shape[0], g, int(channels or 0) // g)),
        1: _viewed(op, w, kernel, (0, 1), (g, int(rows or 0) // g, columns)),
    }
    extents = dict(zip(terms[0] + terms[1], seen[0].shape + seen[1].shape, strict=True))
    made = product(op, w, terms, seen)
    if made is None:
        reason = f"{op.title} has a kernel whose channels cannot be matched with its input's"
        for i in (0, 1):
            w.lock(op, w.labels(op, i).ids, reason)
        made = w.fixed(op, (x.shape[0], g, extents["p"]), f"{op.title} mixes channels")
    n_out = g * int(extents["p"] or 0)
    w.count(CountDraft(op, "group", -1, 0, made.ids, 1))
    out = lab.reshape(made, (made.shape[0], n_out))
    if out is None:
        return None
    if op.has(2):
        w.site(SiteDraft(op, 2, 0, lab.expand(w.flat(op, out.ids, (1,)), 1, n_out), 1, "param"))
    shape: Shape = w.shape(op) or (x.shape[0], n_out, *[None] * (len(x.shape) - 2))
    return Labels(shape, out.ids.reshape(*out.ids.shape, *[1] * (len(shape) - 2)))


def _viewed(op: Op, w: Walk, x: Labels, channels: tuple[int, ...], shape: Shape) -> Labels:
    """The labels without positions, along axes of ``shape``; ``channels`` are those of channels."""
    ids = w.flat(op, x.ids, (0, *channels))
    flat = Labels(x.shape[:2], ids.reshape(ids.shape[:2]))
    viewed = lab.reshape(flat, shape)
    if viewed is None:
        raise ValueError("the numbers of channels do not fit the groups")
    return viewed
