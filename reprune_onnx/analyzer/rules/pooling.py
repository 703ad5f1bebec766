"""Pools and RoiAlign: windows over positions, each channel by itself."""

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


def roi_align(op: Op, w: Walk) -> Labels:
    """Every box of an image becomes a small map with the image's channels."""
    x, boxes = w.labels(op), w.labels(op, 1)
    for i, what in ((1, "boxes"), (2, "numbers of images")):
        if w.is_activation(op, i):
            w.lock(op, w.labels(op, i).ids, f"{op.title} reads these channels as {what}")
    n = w.constant_shape(op, 1)[0] if w.is_constant(op, 1) else (boxes.shape or (None,))[0]
    sides = [int(op.attrs.get(f"output_{a}", 1)) for a in ("height", "width")]
    return Labels((n, x.shape[1], *sides), w.flat(op, x.ids, (1,)))
