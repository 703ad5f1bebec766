"""The standard deviation of layers' outputs on calibration images: |γ| where BN was folded away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.settings import Settings
from reprune_onnx.types import ChannelMap, Floats, Layer, Model

Progress = Callable[[str, int, int], None]


def output_deviations(
    model: Model, channels: ChannelMap, settings: Settings, progress: Progress | None = None
) -> dict[int, Floats]:
    """``{node: (n_out,)}`` for the layers without BN; empty without calibration data.

    One pass over the images; sums are kept in float64, activations only for one batch at a time.
    """
    layers = [layer for layer in channels.layers if layer.bn is None]
    if settings.calibration is None or not layers:
        return {}
    from reprune_onnx.runtime.feed import feed_batches
    from reprune_onnx.runtime.ort import Session

    names = {layer.node: channels.graph.ops[layer.node].outputs[0] for layer in layers}
    session = Session(model.proto, optimize=True, outputs=sorted(set(names.values())))
    count = 0
    total = {layer.node: np.zeros(len(layer.out_ids)) for layer in layers}
    squares = {layer.node: np.zeros(len(layer.out_ids)) for layer in layers}
    points = dict.fromkeys(names, 0)
    for feeds, size in feed_batches(session, settings):
        results = session.run(feeds)
        for layer in layers:
            columns = _per_channel(results[names[layer.node]], layer)
            total[layer.node] += columns.sum(axis=0)
            squares[layer.node] += (columns**2).sum(axis=0)
            points[layer.node] += len(columns)
        count += size
        if progress is not None:
            progress("calibrating", min(count, settings.calibration_size), settings.calibration_size)
    deviations: dict[int, Floats] = {}
    for node, n in points.items():
        mean = total[node] / n
        deviations[node] = np.sqrt(np.maximum(squares[node] / n - mean**2, 0.0))
    return deviations


def _per_channel(output: NDArray[Any], layer: Layer) -> Floats:
    """The output as a matrix (values, n_out)."""
    axis = 1 if layer.op in ("Conv", "ConvTranspose") else output.ndim - 1
    moved = np.moveaxis(output, axis, -1).astype(np.float64)
    return moved.reshape(-1, output.shape[axis])
