"""Statistics of layers on calibration images: deviations of outputs, energies of inputs.

The standard deviation of a layer's output stands for |γ| where BN was folded away; the mean square
of an input channel says how much its kernels matter (``--coverage energy``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.images import Images
from reprune_onnx.activations.measurable import measured_names
from reprune_onnx.activations.sampling import Look, shares
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.workers import Workers, workers
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.op_kinds import CONVOLUTIONS
from reprune_onnx.precision import as_float32
from reprune_onnx.types import ChannelMap, Floats, Layer, Model
from reprune_onnx.watch import Progress

_SAMPLES = 4_000  # values of a channel, of which a mean and a deviation are taken


@dataclass(frozen=True)
class Statistics:
    """Measured ``deviation[node] (n_out,)`` of the layers without BN whose channels may go.

    ``energy[node] (n_in,)`` is of all layers.
    """

    deviation: dict[int, Floats] = field(default_factory=dict)
    energy: dict[int, Floats] = field(default_factory=dict)


def layer_statistics(
    model: Model,
    graph: Graph,
    channels: ChannelMap,
    images: Images,
    energies: bool,
    progress: Progress | None = None,
) -> Statistics:
    """Measure the layers on ``images``; input energies only where they are asked for."""
    names = measured_names(model.proto)
    movable = {p.layer.node for g in channels.groups if g.free.any() for p in g.producers}
    layers = [
        x
        for x in channels.layers
        if (energies or (x.bn is None and x.node in movable))
        and _makes_its_rows(channels, x, graph.ops[x.node].result)
        and {graph.ops[x.node].result, *_read(graph, x)} <= names
    ]
    outputs = [graph.ops[x.node].result for x in layers]
    inputs = [name for x in layers for name in _read(graph, x)]
    steps = [[y, x] if energies else [y] for y, x in zip(outputs, inputs, strict=True)]
    proto = as_float32(model.proto)
    looks = [
        Look(y, _axis(channels, layer, y), _SAMPLES, spread=1)  # every position
        for layer, y in zip(layers, outputs, strict=True)
    ]
    counts = [share.batches for share in shares(proto, images.batches, looks)]
    statistics = Statistics()
    frontier = Frontier(Model(proto), images.batches, steps, counts, Store(images.room))
    with workers() as pool:
        for k, layer in enumerate(layers):
            frontier.advance()
            axes = {name: _axis(channels, layer, name) for name in steps[k]}
            mean, square = _means(frontier, axes, pool)
            if layer.bn is None:
                variance = square[outputs[k]] - mean[outputs[k]] ** 2
                statistics.deviation[layer.node] = np.sqrt(np.maximum(variance, 0.0))
            if energies:
                statistics.energy[layer.node] = square[inputs[k]]
            if progress is not None:
                progress("calibrating", k + 1, len(layers))
    return statistics


def _makes_its_rows(channels: ChannelMap, layer: Layer, name: str) -> bool:
    """Whether its result has a channel for each row of its weight; of queries and keys it has none.

    So it is with attention in one node, whose result are values that others were weighed by.
    """
    extent = channels.tensors[name].shape[_axis(channels, layer, name)]
    return extent in (None, len(layer.out_ids))


def _read(graph: Graph, layer: Layer) -> tuple[str]:
    """The input of a layer beside its weight."""
    return (graph.ops[layer.node].inputs[1 - layer.input],)


def _axis(channels: ChannelMap, layer: Layer, name: str) -> int:
    """The axis of a tensor along which a layer reads or makes channels.

    It is the one along which labels differ; of a single channel it is the op's usual one.
    """
    ids = channels.tensors[name].ids
    differing = [k for k, n in enumerate(ids.shape) if n > 1]
    if len(differing) == 1:
        return differing[0]
    return 1 if layer.op in CONVOLUTIONS else ids.ndim - 1


def _means(
    frontier: Frontier, axes: Mapping[str, int], pool: Workers
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The mean and the mean square (n,) along ``axes[name]`` of every tensor of the step."""

    def sums(b: int) -> dict[str, tuple[int, Floats, Floats]]:
        arrays = frontier.compute(b)
        parts = {}
        for name, axis in axes.items():
            rows = np.moveaxis(arrays[name], axis, -1).reshape(-1, arrays[name].shape[axis])
            rows = rows.astype(np.float64)
            parts[name] = len(rows), rows.sum(axis=0), (rows**2).sum(axis=0)
        return parts

    parts = list(pool.in_order(sums, frontier.batches))
    mean, square = {}, {}
    for name in axes:
        n = sum(part[name][0] for part in parts)
        mean[name] = np.sum([part[name][1] for part in parts], axis=0) / n
        square[name] = np.sum([part[name][2] for part in parts], axis=0) / n
    return mean, square
