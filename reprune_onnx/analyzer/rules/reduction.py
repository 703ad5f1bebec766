"""Reduce* and ArgMax: over positions they keep the channels, over channels they mix them."""

from __future__ import annotations

from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.rules.normalization import mix, statistic
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Labels


def reduce(op: Op, w: Walk) -> Labels | None:
    """The labels that meet in one sum are mixed; the axis goes, or keeps extent 1."""
    rank = len(w.labels(op).shape)
    axes = _axes(op, w, rank)
    if axes is None:
        return None
    if statistic(op, w, axes):
        one = w.fixed(op, (1,) * rank, f"{op.title} mixes the channels")
        return _left(op, Labels(w.labels(op).shape, one.ids), axes)
    return _left(op, mix(op, w, axes, by_option=True), axes)


def arg(op: Op, w: Walk) -> Labels:
    """ArgMax and ArgMin: positions along ``axis``; along channels these would be renumbered."""
    axis = int(op.attrs.get("axis", 0)) % len(w.labels(op).shape)
    return _left(op, mix(op, w, [axis]), [axis])


def _left(op: Op, x: Labels, axes: list[int]) -> Labels:
    """The labels of ``x`` without ``axes``, or with extent 1 there."""
    keep = bool(op.attrs.get("keepdims", 1))
    rank = len(x.shape)
    kept = [a for a in range(rank) if keep or a not in axes]
    ids = x.ids[tuple(slice(0, 1) if a in axes else slice(None) for a in range(rank))]
    shape = tuple(1 if a in axes else x.shape[a] for a in kept)
    return Labels(shape, ids.reshape([ids.shape[a] for a in kept]))


def _axes(op: Op, w: Walk, rank: int) -> list[int] | None:
    if "axes" in op.attrs:
        return [int(a) % rank for a in op.attrs["axes"]]
    if op.has(1):
        given = w.integers(op, 1)
        if given is None or None in given:
            return None
        if given:
            return [int(a or 0) % rank for a in given]
    if op.attrs.get("noop_with_empty_axes", 0):
        return []
    return list(range(rank))
