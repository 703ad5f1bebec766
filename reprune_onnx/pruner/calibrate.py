"""What calibration images tell about layers: the deviation of their outputs, the energy of inputs.

The standard deviation of a layer's output stands for |γ| where BN was folded away; the mean square
of an input channel says how much its kernels matter (``--coverage energy``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from reprune_onnx.activations.images import Images
from reprune_onnx.activations.tape import Tape
from reprune_onnx.activations.workers import Workers, workers
from reprune_onnx.precision import as_float32
from reprune_onnx.types import ChannelMap, Floats, Layer, Model
from reprune_onnx.watch import Progress


@dataclass(frozen=True)
class Statistics:
    """``deviation[node] (n_out,)`` of the layers without BN, ``energy[node] (n_in,)`` of all."""

    deviation: dict[int, Floats] = field(default_factory=dict)
    energy: dict[int, Floats] = field(default_factory=dict)


def layer_statistics(
    model: Model,
    channels: ChannelMap,
    images: Images,
    energies: bool,
    progress: Progress | None = None,
) -> Statistics:
    """Measure the layers on ``images``; input energies only where they are asked for."""
    layers = [x for x in channels.layers if energies or x.bn is None]
    graph = channels.graph
    outputs = [[graph.ops[x.node].result] for x in layers]
    inputs = [[graph.ops[x.node].inputs[1 - x.input]] if energies else [] for x in layers]
    names = [a + b for a, b in zip(outputs, inputs, strict=True)]
    found = Statistics()
    with workers() as pool:
        tape = Tape(Model(as_float32(model.proto)), images.batches, names, pool)
        for k, layer in enumerate(layers):
            tape.advance()
            if layer.bn is None:
                axis = _axis(channels, layer, outputs[k][0])
                mean, square = _means(tape, outputs[k][0], axis, pool)
                found.deviation[layer.node] = np.sqrt(np.maximum(square - mean**2, 0.0))
            if energies:
                axis = _axis(channels, layer, inputs[k][0])
                found.energy[layer.node] = _means(tape, inputs[k][0], axis, pool)[1]
            if progress is not None:
                progress("calibrating", k + 1, len(layers))
    return found


def _axis(channels: ChannelMap, layer: Layer, name: str) -> int:
    """The axis of a tensor along which a layer reads or makes channels.

    It is the one along which labels differ; of a single channel it is the op's usual one.
    """
    ids = channels.tensors[name].ids
    differing = [k for k, n in enumerate(ids.shape) if n > 1]
    if len(differing) == 1:
        return differing[0]
    return 1 if layer.op in ("Conv", "ConvTranspose") else ids.ndim - 1


def _means(tape: Tape, name: str, axis: int, pool: Workers) -> tuple[Floats, Floats]:
    """The mean and the mean square along every channel of ``axis`` (n,) of a tensor."""

    def sums(k: int) -> tuple[int, Floats, Floats]:
        array = tape.batch(k)[name]
        flat = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]).astype(np.float64)
        return len(flat), flat.sum(axis=0), (flat**2).sum(axis=0)

    parts = list(pool.in_order(sums, tape.batches))
    n = sum(count for count, _, _ in parts)
    return (
        np.sum([total for _, total, _ in parts], axis=0) / n,
        np.sum([squares for _, _, squares in parts], axis=0) / n,
    )
