"""Normalisation: per channel it carries the labels on; across channels it locks or ties them."""

from __future__ import annotations

from reprune_onnx.analyzer.drafts import CountDraft, SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import expand, varying
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Labels


def batch_norm(op: Op, w: Walk) -> list[Labels | None]:
    """Scale, bias, mean and variance: one value per place along axis 1; the labels pass."""
    return _scaled(op, w, w.labels(op), range(1, 5))


def instance_norm(op: Op, w: Walk) -> list[Labels | None]:
    """Scale and bias: one value per channel; the statistics are taken within each channel."""
    x = w.labels(op)
    return _scaled(op, w, Labels(x.shape, w.flat(op, x.ids, (1,))), range(1, 3))


def group_norm(op: Op, w: Walk) -> Labels:
    """The statistics of a group need all its channels: whole groups stay or go."""
    x = w.labels(op)
    groups, n = int(op.attrs["num_groups"]), x.shape[1] or 1
    channels = expand(w.flat(op, x.ids, (1,)).reshape(-1), 0, n).reshape(groups, -1)
    w.space.tie_along(channels, (1,))
    for i in (1, 2):
        per_group = w.is_constant(op, i) and w.constant_shape(op, i) == (groups,)
        ids = channels[:, 0] if per_group else channels.ravel()
        w.site(SiteDraft(op, i, 0, ids, 0, "param"))
    w.count(CountDraft(op, "num_groups", -1, 0, channels[:, 0]))
    return Labels(x.shape, channels.reshape(1, -1, *[1] * (len(x.shape) - 2)))


def layer_norm(op: Op, w: Walk) -> list[Labels | None]:
    """Statistics over all axes from ``axis`` on."""
    rank = len(w.labels(op).shape)
    axis = int(op.attrs.get("axis", -1)) % max(rank, 1)
    for i in range(1, len(op.inputs)):
        if w.is_activation(op, i):
            reason = f"{op.title} reads these channels as a parameter"
            w.lock(op, w.labels(op, i).ids, reason)
    return [mix(op, w, list(range(axis, rank))), *[None] * (len(op.outputs) - 1)]


def normalize(op: Op, w: Walk) -> Labels:
    """Softmax and its kind: the elements along ``axis`` share one sum."""
    rank = len(w.labels(op).shape)
    if op.type == "MeanVarianceNormalization":
        axes = [int(a) % rank for a in op.attrs.get("axes", [0, 2, 3])]
    elif "Softmax" in op.type or op.type == "Hardmax":
        axis = int(op.attrs.get("axis", -1 if op.opset >= 13 else 1)) % rank
        axes = [axis] if op.opset >= 13 else list(range(axis, rank))
    else:
        axes = [int(op.attrs.get("axis", -1)) % rank]
    return mix(op, w, axes)


def along_channels(op: Op, w: Walk) -> Labels:
    """LRN: a window over neighbouring channels."""
    return mix(op, w, [1])


def mix(op: Op, w: Walk, axes: list[int]) -> Labels:
    """Every output along ``axes`` depends on every input along ``axes``.

    Where labels vary along other axes too, those that meet in one sum are tied: they go together or
    not at all. Otherwise no channel can go.
    """
    x = w.labels(op)
    vary = varying(x.ids)
    if not set(vary) & set(axes):
        return x
    if set(vary) <= set(axes):
        w.lock(op, x.ids, f"{op.title} mixes the channels")
        return x
    return Labels(x.shape, w.space.tie_along(x.ids, axes))


def _scaled(op: Op, w: Walk, x: Labels, inputs: range) -> list[Labels | None]:
    for i in inputs:
        w.site(SiteDraft(op, i, 0, x.ids, 1, "param"))
    return [x, *[None] * (len(op.outputs) - 1)]
