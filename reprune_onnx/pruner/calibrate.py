"""The standard deviation of layers' outputs on calibration images: |γ| where BN was folded away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.errors import DataError
from reprune_onnx.settings import Settings
from reprune_onnx.types import ChannelMap, Floats, Layer, Model

Progress = Callable[[str, int, int], None]
_BATCH = 32


def output_deviations(
    model: Model, channels: ChannelMap, settings: Settings, progress: Progress | None = None
) -> dict[int, Floats]:
    """``{node: (n_out,)}`` for the layers without BN; empty without calibration data.

    One pass over the images; sums are kept in float64, activations only for one batch at a time.
    """
    layers = [layer for layer in channels.layers if layer.bn is None]
    if settings.calibration is None:
        return {}
    from reprune_onnx.data.open import open_data
    from reprune_onnx.runtime.image_input import image_input
    from reprune_onnx.runtime.ort import Session

    port = image_input(model.proto, dict(settings.input_shapes))
    data = open_data(
        settings.calibration,
        preprocess=settings.preprocess,
        input_shape=port.shape,
        dtype=port.dtype,
        split="train",
    ).take(settings.calibration_size)
    if not layers:
        return {}  # every layer has its γ; the data was opened so that a mistake is told
    names = {layer.node: channels.graph.ops[layer.node].outputs[0] for layer in layers}
    session = Session(model.proto, optimize=True, outputs=sorted(set(names.values())))
    sums = {layer.node: _Moments(len(layer.out_ids)) for layer in layers}
    batch = port.shape[0] if port.shape and port.shape[0] else _BATCH
    done = 0
    for x, _ in data.batches(batch):
        if port.shape and port.shape[0] and len(x) < port.shape[0]:
            break  # a model with a fixed batch does not take the rest
        results = session.run({port.name: x})
        for layer in layers:
            sums[layer.node].add(_columns(results[names[layer.node]], layer))
        done += len(x)
        if progress is not None:
            progress("calibrating", done, data.size or done)
    if not done:
        raise DataError(f"{data.name} has fewer images than the model's batch of {batch}")
    return {node: moments.deviation() for node, moments in sums.items()}


class _Moments:
    """Sums of values and of their squares, per channel."""

    def __init__(self, n: int) -> None:
        self._count = 0
        self._total, self._squares = np.zeros(n), np.zeros(n)

    def add(self, columns: Floats) -> None:
        self._count += len(columns)
        self._total += columns.sum(axis=0)
        self._squares += (columns**2).sum(axis=0)

    def deviation(self) -> Floats:
        mean = self._total / self._count
        result: Floats = np.sqrt(np.maximum(self._squares / self._count - mean**2, 0.0))
        return result


def _columns(output: NDArray[Any], layer: Layer) -> Floats:
    """The output as a matrix (values, n_out)."""
    axis = 1 if layer.op in ("Conv", "ConvTranspose") else output.ndim - 1
    return np.moveaxis(output, axis, -1).astype(np.float64).reshape(-1, output.shape[axis])
