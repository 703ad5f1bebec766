"""Pools: a window over positions, each channel by itself."""

from __future__ import annotations

from reprune_onnx.analyzer.graph import Op
from reprune_onnx.analyzer.walk import Walk
from reprune_onnx.types import Labels


def pool(op: Op, w: Walk) -> list[Labels | None]:
    """Labels pass; MaxPool's indices count through all channels and lock them."""
    x = w.labels(op)
    ids = w.flat(op, x.ids, (0, 1))
    if len(op.outputs) > 1 and op.outputs[1]:
        w.lock(op, ids, f"{op.title} outputs indices that count through the channels")
    shape = w.shape(op) or (*x.shape[:2], *[None] * (len(x.shape) - 2))
    return [Labels(shape, ids), None]
