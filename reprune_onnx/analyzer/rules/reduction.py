"""Reduce* and ArgMax: over positions they keep the channels, over channels they mix them."""

from __future__ import annotations

from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.rules.normalization import mix
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Labels


def reduce(op: Op, w: Walk) -> Labels | None:
    """The labels that meet in one sum are mixed; the axis goes, or keeps extent 1."""
    rank = len(w.labels(op).shape)
    axes = _axes(op, w, rank)
    return None if axes is None else _reduced(op, w, axes)


def arg(op: Op, w: Walk) -> Labels:
    """ArgMax and ArgMin: positions along ``axis``; along channels these would be renumbered."""
    return _reduced(op, w, [int(op.attrs.get("axis", 0)) % len(w.labels(op).shape)])


def _reduced(op: Op, w: Walk, axes: list[int]) -> Labels:
    x = mix(op, w, axes)
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
