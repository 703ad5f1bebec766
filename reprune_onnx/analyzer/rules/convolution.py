"""Conv and ConvTranspose: dense, depthwise and grouped."""

from __future__ import annotations

from math import prod

from reprune_onnx.analyzer.drafts import CountDraft, GroupedConv, LayerDraft, SiteDraft
from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.labels import expand
from reprune_onnx.analyzer.rules.correlation import correlate
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Ints, Labels, Shape


def conv(op: Op, w: Walk) -> Labels | None:
    """Weight ``(n_out, n_in/g, *k)``: fresh labels out; the input's labels on axis 1.

    A kernel that is an activation is no weight, see `correlate`.
    """
    if not w.is_constant(op, 1):
        return correlate(op, w)
    weight = w.constant_shape(op, 1)
    g = int(op.attrs.get("group", 1))
    n_out, n_in = weight[0], weight[1] * g
    x = _input_channels(op, w, n_in, len(weight))
    out = w.space.fresh(n_out)
    if g == 1:
        w.site(SiteDraft(op, 1, 1, x, 0, "in"))
    else:
        x, y = x.reshape(g, -1), out.reshape(g, -1)
        w.grouped.append(GroupedConv(op, x, y))
        w.site(SiteDraft(op, 1, 1, x, 1, "in"))
        w.count(CountDraft(op, "group", -1, 0, y, 0))
    w.site(SiteDraft(op, 1, 0, out, 0, "out"))
    shape = w.shape(op) or (None, n_out, *[None] * (len(weight) - 2))
    _layer(op, w, 0, out, g, shape)
    return _output(op, w, out, shape)


def conv_transpose(op: Op, w: Walk) -> Labels | None:
    """Weight ``(n_in, n_out/g, *k)``: the input's labels on axis 0, fresh labels out on axis 1.

    A kernel that is an activation is no weight, see `correlate`.
    """
    if not w.is_constant(op, 1):
        return correlate(op, w)
    weight = w.constant_shape(op, 1)
    g = int(op.attrs.get("group", 1))
    n_in, n_out = weight[0], weight[1] * g
    x = _input_channels(op, w, n_in, len(weight))
    out = w.space.fresh(n_out)
    w.site(SiteDraft(op, 1, 0, x, 0, "in"))
    if g == 1:
        w.site(SiteDraft(op, 1, 1, out, 0, "out"))
    else:
        y = out.reshape(g, -1)
        w.grouped.append(GroupedConv(op, x.reshape(g, -1), y))
        w.site(SiteDraft(op, 1, 1, y, 1, "out"))
        w.count(CountDraft(op, "group", -1, 0, y, 0))
    _layer(op, w, 1, out, g, w.labels(op).shape)
    shape = w.shape(op) or (None, n_out, *[None] * (len(weight) - 2))
    return _output(op, w, out, shape)


def _input_channels(op: Op, w: Walk, n_in: int, rank: int) -> Ints:
    """The labels ``(n_in,)`` of the input's channels, one per channel at every position."""
    x = w.labels(op)
    if len(x.shape) != rank:
        return expand(x.ids.reshape(-1)[:1], 0, n_in)
    return expand(w.flat(op, x.ids, (1,)).reshape(-1), 0, n_in)


def _layer(op: Op, w: Walk, axis: int, ids: Ints, g: int, spatial: Shape) -> None:
    weight = w.constant_shape(op, 1)
    extents = spatial[2:] if len(spatial) == len(weight) else (None,)
    regions = len(spatial) > 0 and spatial[0] is None  # as many as the image has
    positions = 0 if regions or None in extents else prod(n or 0 for n in extents)
    w.layers.append(LayerDraft(op, 1, weight, axis, ids, g, positions))


def _output(op: Op, w: Walk, out: Ints, shape: Shape) -> Labels:
    if op.has(2):
        w.site(SiteDraft(op, 2, 0, out, 0, "param"))
    return Labels(shape, out.reshape(1, -1, *[1] * (len(shape) - 2)))
