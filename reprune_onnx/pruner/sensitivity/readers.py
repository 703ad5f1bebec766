"""The layers that read each group's channels, and the moments of what they read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.gram import Gram
from reprune_onnx.activations.images import Images
from reprune_onnx.activations.joint import Joint, joint_of
from reprune_onnx.activations.linear import Linear
from reprune_onnx.activations.measurable import measured_names
from reprune_onnx.activations.moments import Sums
from reprune_onnx.activations.sampling import Look, Share, shares
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.workers import Workers
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.op_kinds import LINEAR
from reprune_onnx.errors import DataError
from reprune_onnx.precision import as_float32
from reprune_onnx.pruner.sensitivity.elimination import Reader
from reprune_onnx.types import ChannelMap, Floats, Group, Ints, Layer, Model
from reprune_onnx.watch import Progress

_LATE = 3.0  # what an error in the last layer counts, in units of one in the first


@dataclass(frozen=True)
class _Plan:
    """A layer to measure; ``units (n_in/g,)`` are those of its input channels."""

    layer: Layer
    linear: Linear
    joint: Joint
    units: Ints


def readers(
    model: Model,
    graph: Graph,
    channels: ChannelMap,
    images: Images,
    workers: Workers,
    progress: Progress | None = None,
) -> Iterator[tuple[Group, list[Reader]]]:
    """Yield every prunable group with its readers, as soon as they have been measured.

    Errors are relative to the variance of the tensor where the layer joins the rest of the network,
    so that they compare across layers and streams. What comes early can be made good by the layers
    after it (they are refitted), what comes late cannot: from the first layer to the last an error
    counts 1 to `_LATE` times. A group that no layer reads has none.
    """
    images.check()
    names_made = measured_names(model.proto)
    plans = [
        p for p in _plans(graph, channels) if {p.linear.op.inputs[0], p.joint.tensor} <= names_made
    ]
    proto = as_float32(model.proto)
    names = [[p.linear.op.inputs[0], p.joint.tensor] for p in plans]
    parts = shares(
        proto, images.batches, [Look.to_compare(p.joint.tensor, p.linear) for p in plans]
    )
    counts = [share.batches for share in parts]
    frontier = Frontier(Model(proto), images.batches, names, counts, Store(images.room))
    groups = [g for g in channels.groups if g.free.any()]
    waiting = {
        g.id: {i for i, p in enumerate(plans) if np.isin(p.units, g.units).any()} for g in groups
    }
    yield from ((g, []) for g in groups if not waiting[g.id])
    measured: dict[int, tuple[Floats, list[Gram]]] = {}
    for i, plan in enumerate(plans):
        frontier.advance()
        weight = _LATE ** (i / max(1, len(plans) - 1))
        measured[i] = _measured(plan, graph, frontier, parts[i], workers, weight)
        if progress is not None:
            progress("measuring", i + 1, len(plans))
        for g in groups:
            if waiting[g.id] and max(waiting[g.id]) == i:
                indices = sorted(waiting[g.id])
                yield g, [r for j in indices for r in _readers(plans[j], measured[j], g)]
        for j in list(measured):
            if not any(j in indices and max(indices) > i for indices in waiting.values()):
                del measured[j]


def _plans(graph: Graph, channels: ChannelMap) -> list[_Plan]:
    movable = np.zeros(channels.n_units, dtype=bool)
    for g in channels.groups:
        movable[g.units[g.free]] = True
    sites = {(s.node, s.input): s for s in channels.sites if s.role == "in"}
    plans = []
    for layer in sorted(channels.layers, key=lambda layer: layer.node):
        site, op = sites.get((layer.node, layer.input)), graph.ops[layer.node]
        readable = layer.op in LINEAR and layer.input == 1 and not op.attrs.get("transA", 0)
        if site is None or not readable or not movable[site.ids].any():
            continue
        linear = Linear(op, layer.shape)
        units = site.ids
        if layer.op == "ConvTranspose":  # its groups' input channels lie one after the other
            units = units.reshape(linear.groups, -1)[0]
        plans.append(_Plan(layer, linear, joint_of(graph, channels, linear), units))
    return plans


def _measured(
    plan: _Plan, graph: Graph, frontier: Frontier, share: Share, workers: Workers, weight: float
) -> tuple[Floats, list[Gram]]:
    """W (g, m, D) in units of the joint's deviation, and each group's centred moments (D, D)."""
    linear, joint = plan.linear, plan.joint
    sums = Sums(workers, xt=False)

    def rows(b: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        arrays = frontier.compute(b)
        z = arrays[joint.tensor]
        at = share.places(linear.positions(z), b)
        X = linear.inputs(arrays[linear.op.inputs[0]], z.shape, at).astype(np.float32)
        Z = joint.rows(linear, z, at).astype(np.float32)
        if not (np.isfinite(X).all() and np.isfinite(Z).all()):
            raise DataError(
                f"the images make values that are not finite at {linear.op.title}: give values as"
                " the model was trained on (--preprocess)"
            )
        return X, Z.reshape(len(Z), linear.groups, -1).swapaxes(0, 1)

    def portion(k: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        X, Z = zip(*map(rows, share.portions[k]), strict=True)
        return np.concatenate(X, axis=1), np.concatenate(Z, axis=1)

    for X, Z in workers.in_order(portion, len(share.portions)):
        sums.add(X, Z)
    m = sums.moments()
    W = linear.matrix(graph.array(plan.layer.weight))
    scale = joint.scale.reshape(linear.groups, -1)
    variance = float(m.tt.sum()) or 1.0
    return W * scale[:, :, None] * np.sqrt(weight / variance), [G.shrunk(m.n) for G in m.xx]


def _readers(plan: _Plan, measured: tuple[Floats, list[Gram]], group: Group) -> Iterator[Reader]:
    W, grams = measured
    kernel = W.shape[2] // len(plan.units)
    places = [np.flatnonzero(plan.units == unit) for unit in group.units]
    inputs = tuple((p[:, None] * kernel + np.arange(kernel)).reshape(-1) for p in places)
    for w, moments in zip(W, grams, strict=True):
        yield Reader(w, moments, inputs)
