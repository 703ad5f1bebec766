"""The result of an analysis as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.choices import Residual
from reprune_onnx.pruner.measure import cost, parameters
from reprune_onnx.report.missing import missing
from reprune_onnx.report.record import locked
from reprune_onnx.report.stays import Stay, stays
from reprune_onnx.types import ChannelMap, Group


def describe(graph: Graph, channels: ChannelMap, model: str, residual: Residual) -> dict[str, Any]:
    """Groups, layers and why they stay, locks, Conv–BN pairs, a summary."""
    full, kept = cost(graph, channels), stays(graph, channels)
    least = np.ones(channels.n_units, dtype=np.bool_)
    prunable = set()
    for g in channels.groups:
        if g.free.any():
            stay = 0 if (~g.free).any() else 1
            least[g.units[g.free][stay:]] = False
            prunable |= {
                p.layer.node
                for p in g.producers
                if any(len(rows) and free for rows, free in zip(p.rows, g.free, strict=True))
            }
    convs = [layer for layer in channels.layers if layer.op.startswith("Conv")]
    most = 1.0 - cost(graph, channels, least).macs / full.macs if full.macs else 0.0
    return {
        "model": model,
        "residual": residual,
        "input_shapes": {k: list(v) for k, v in channels.input_shapes.items()},
        "sizes_found": channels.sizes_found or None,
        "macs": full.macs,
        "params": parameters(graph.proto),
        "summary": {
            "conv_layers": len(convs),
            "prunable_conv_layers": sum(layer.node in prunable for layer in convs),
            "layers": len(channels.layers),
            "prunable_layers": len(prunable),
            "largest_macs_reduction": round(most, 4),
            "whole_branches": sum(g.branch is not None for g in channels.groups),
        },
        "groups": [_group(g, channels) for g in channels.groups],
        "layers": _layers(channels, kept),
        "conv_bn": [
            {"layer": layer.name, "gamma": layer.bn} for layer in channels.layers if layer.bn
        ],
        "locked": locked(channels),
        "notes": missing(graph, channels),
    }


def _layers(channels: ChannelMap, kept: Mapping[int, Stay]) -> list[dict[str, Any]]:
    """Every layer with the channels that may go, and why where none may."""
    free = np.zeros(channels.n_units, dtype=np.bool_)
    for g in channels.groups:
        free[g.units[g.free]] = True
    return [
        {
            "node": layer.name,
            "op": layer.op,
            "channels": len(layer.out_ids),
            "prunable": int(free[layer.out_ids].sum()),
            "macs": layer.macs,
            "stays": asdict(kept[layer.node]) if layer.node in kept else None,
        }
        for layer in channels.layers
    ]


def _group(group: Group, channels: ChannelMap) -> dict[str, Any]:
    """A group; ``branch`` are the layers that go with all of its channels, None where none do."""
    nodes = frozenset() if group.branch is None else group.branch.nodes
    return {
        "id": group.id,
        "channels": group.n,
        "prunable": int(group.free.sum()),
        "producers": [
            {"node": p.layer.name, "op": p.layer.op, "channels": len(p.layer.out_ids)}
            for p in group.producers
        ],
        "consumers": list(group.consumers),
        "branch": [layer.name for layer in channels.layers if layer.node in nodes] or None,
    }
