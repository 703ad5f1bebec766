"""The layers and scores that read each group's channels, and the moments of what they read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reprune_onnx.activations.frontier import Frontier
from reprune_onnx.activations.images import Images
from reprune_onnx.activations.makers import Network
from reprune_onnx.activations.measurable import measured_names
from reprune_onnx.activations.sampling import shares
from reprune_onnx.activations.store import Store
from reprune_onnx.activations.workers import Workers
from reprune_onnx.analyzer.ends import reached
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.precision import as_float32
from reprune_onnx.pruner.sensitivity.elimination import Reader
from reprune_onnx.pruner.sensitivity.plans import Measurement, Plan, plans_of
from reprune_onnx.types import ChannelMap, Floats, Group, Model
from reprune_onnx.watch import Progress

_LATE = 3.0  # what an error in the last layer counts, in units of one in the first
_LEAST = 1e-3  # of what an error in the trunk counts: what one counts that reaches no output


@dataclass(frozen=True)
class Reads:
    """The layers that read a group's n channels: ``readers``, and those that combine them.

    Of the latter ``by_number (n + 1,)`` is lost, whichever channels are left. Without anything that
    was ``measured`` it is 0.
    """

    readers: list[Reader]
    by_number: Floats
    measured: bool


def readers(
    model: Model,
    graph: Graph,
    channels: ChannelMap,
    images: Images,
    workers: Workers,
    progress: Progress | None = None,
) -> Iterator[tuple[Group, Reads]]:
    """Yield every prunable group with what reads it, as soon as that has been measured.

    Errors are relative to the variance of the tensor where the layer joins the rest of the network,
    so that they compare across layers and streams. What comes early can be made good by the layers
    after it (they are refitted), what comes late cannot: from the first layer to the last an error
    counts 1 to `_LATE` times. It counts by the share of the outputs that it reaches (`ends`). A
    group that no layer reads has none.
    """
    images.check()
    names_made = measured_names(model.proto)
    proto = as_float32(model.proto)
    network = Network(Model(proto), graph, channels, images.batches[0])
    plans = [p for p in plans_of(network) if names_made.issuperset(p.tensors)]
    names = [p.tensors for p in plans]
    parts = shares(proto, images.batches, [p.look for p in plans])
    counts = [share.batches for share in parts]
    frontier = Frontier(Model(proto), images.batches, names, counts, Store(images.room))
    share = reached(graph, {layer.node for layer in channels.layers})
    groups = [g for g in channels.groups if g.free.any()]
    waiting = {
        g.id: {i for i, p in enumerate(plans) if np.isin(p.units, g.units).any()} for g in groups
    }
    yield from ((g, _reads([], g)) for g in groups if not waiting[g.id])
    measured: dict[int, Measurement] = {}
    for i, plan in enumerate(plans):
        frontier.advance()
        weight = _LATE ** (i / max(1, len(plans) - 1)) * max(_LEAST, share[plan.node])
        measured[i] = plan.measured(graph, frontier, (parts[i], weight), workers)
        if progress is not None:
            progress("measuring", i + 1, len(plans))
        for g in groups:
            if waiting[g.id] and max(waiting[g.id]) == i:
                indices = sorted(waiting[g.id])
                yield g, _reads([(plans[j], measured[j]) for j in indices], g)
        for j in list(measured):
            if not any(j in indices and max(indices) > i for indices in waiting.values()):
                del measured[j]


def _reads(measured: Sequence[tuple[Plan, Measurement]], group: Group) -> Reads:
    every: list[Reader] = []
    by_number = np.zeros(group.n + 1)
    for plan, measurement in measured:
        combined = measurement.by_number is not None and _each_once(plan, group)
        if measurement.by_number is not None and combined:
            by_number += measurement.by_number
        else:
            every += _readers(plan, measurement, group)
    return Reads(every, by_number, bool(measured))


def _each_once(plan: Plan, group: Group) -> bool:
    """Whether every head has each of the group's channels once, and no other."""
    units = np.sort(group.units)
    return all(np.array_equal(np.sort(plan.units[head]), units) for head in plan.heads)


def _readers(plan: Plan, measured: Measurement, group: Group) -> Iterator[Reader]:
    W, grams = measured.W, measured.grams
    kernel = W.shape[2] // len(plan.units)
    places = [np.flatnonzero(plan.units == unit) for unit in group.units]
    inputs = tuple((p[:, None] * kernel + np.arange(kernel)).reshape(-1) for p in places)
    for w, moments in zip(W, grams, strict=True):
        yield Reader(_root(w), moments, inputs)


def _root(W: Floats) -> Floats:
    """A matrix R with RᵀR = WᵀW and no more rows than columns: losses depend on WᵀW alone."""
    m, D = W.shape
    return np.asarray(np.linalg.qr(W, mode="r")) if m > D else W
