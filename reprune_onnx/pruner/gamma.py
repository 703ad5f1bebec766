"""|γ| of every channel: read from BatchNormalization, or estimated where an exporter folded it.

A BN output has standard deviation |γ|, so a folded γ is estimated as the standard deviation of the
layer's output on calibration images or, without any, as the norm of the folded filter: the
deviation for uncorrelated inputs of unit variance. Where a model has both kinds of layer, estimates
are scaled so that over the layers with BN their median equals that of the true |γ|.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.errors import ModelError
from reprune_onnx.pruner.layer_filters import layer_filters
from reprune_onnx.types import ChannelMap, Floats, GammaSource, Group, Layer

_BLOCK = 256  # filters whose squares are held at once


def channel_gammas(
    graph: Graph, channels: ChannelMap, deviations: Mapping[int, Floats]
) -> tuple[dict[int, Floats], dict[int, GammaSource]]:
    """|γ| of each group's channels ``{group id: (n,)}``, and its source per layer ``{node: …}``.

    ``deviations[node]`` is the measured standard deviation ``(n_out,)`` of a layer's output
    channels. A channel that several layers make has the largest of their |γ|.
    """
    true: dict[int, Floats] = {}
    estimated: dict[int, Floats] = {}
    source: dict[int, GammaSource] = {}
    for layer in channels.layers:
        measured = layer.node in deviations
        estimated[layer.node] = deviations[layer.node] if measured else _norms(graph, layer)
        source[layer.node] = "calibration" if measured else "weights"
        if layer.bn is not None:
            true[layer.node] = np.abs(graph.array(layer.bn).astype(np.float64)).ravel()
            source[layer.node] = "bn"
            if not np.isfinite(true[layer.node]).all():
                raise ModelError(
                    f"γ '{layer.bn}' of '{layer.name}' has values that are not finite: the model"
                    " is damaged, or its training diverged"
                )
    scale = 1.0
    if true:
        mid = float(np.median(np.concatenate([estimated[node] for node in true])))
        scale = float(np.median(np.concatenate(list(true.values())))) / mid if mid > 0 else 1.0
    per_layer = {node: true.get(node, estimated[node] * scale) for node in estimated}
    return {g.id: _largest(g, per_layer) for g in channels.groups}, source


def _largest(group: Group, per_layer: Mapping[int, Floats]) -> Floats:
    gamma = np.zeros(group.n)
    for producer in group.producers:
        values = per_layer[producer.layer.node]
        for i, rows in enumerate(producer.rows):
            if len(rows):
                gamma[i] = max(gamma[i], float(values[rows].max()))
    return gamma


def _norms(graph: Graph, layer: Layer) -> Floats:
    """ℓ2 norms ``(n_out,)`` of a layer's filters."""
    rows = [np.array([i]) for i in range(len(layer.out_ids))]
    norms = np.empty(len(rows))
    for i in range(0, len(rows), _BLOCK):
        block = rows[i : i + _BLOCK]
        (part,) = layer_filters(graph, layer, block)
        norms[i : i + _BLOCK] = np.sqrt((part.kernels**2).sum(axis=(1, 2)))
    if layer.more:  # of a hidden unit: over all gates and directions, where others have one filter
        norms /= np.sqrt(part.kernels.shape[2])
    return norms
