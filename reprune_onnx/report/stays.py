"""Why layers keep their channels, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.types import Bools, ChannelMap, Group, Ints, Layer, Lock, LockKind

_WEIGHT: dict[LockKind, int] = {"output": 2, "node": 1, "residual": 0, "scope": 0}
"""Of locks that reach all channels of a layer, the heaviest is named."""


@dataclass(frozen=True)
class Stay:
    """Why a layer loses no channel: ``reason``, because of ``node``.

    ``macs`` are the multiply-adds, per image, that would go with all its channels but one.
    """

    node: str
    reason: str
    macs: int


def stays(graph: Graph, channels: ChannelMap) -> dict[int, Stay]:
    """Of each layer that can lose no channel, by node: the lock that reaches all its channels.

    A layer whose channels are a graph output is called that, whatever else locks them. Of several
    locks one that only an option makes (--residual, --include, --exclude) is named last, as lifting
    it would free nothing. Where no single lock reaches all, it is that which reaches most.
    """
    free = np.zeros(channels.n_units, dtype=np.bool_)
    for g in channels.groups:
        free[g.units[g.free]] = True
    fixed = [x for x in channels.layers if not free[x.out_ids].any()]
    if not fixed:
        return {}
    owner = {p.layer.node: g for g in channels.groups for p in g.producers}
    savings = _Savings(channels)
    costs = {g.id: savings.of(g) for g in {owner[x.node].id: owner[x.node] for x in fixed}.values()}
    locks = [(lock, _mask(lock, channels.n_units)) for lock in channels.locks]
    by_layer = {}
    for layer in fixed:
        lock = _main(layer.out_ids, locks)
        node, reason = ("", "no channel may go") if lock is None else (lock.node, lock.reason)
        head = _head(graph, channels, layer)
        if lock is not None and lock.kind == "output":
            reason = f"its channels are graph {lock.node}"
        elif head is not None:
            reason = f"a head: no layer reads it before graph output '{head}', and {reason}"
        by_layer[layer.node] = Stay(node, reason, costs[owner[layer.node].id])
    return by_layer


def _mask(lock: Lock, n_units: int) -> Bools:
    mask = np.zeros(n_units, dtype=np.bool_)
    mask[lock.ids] = True
    return mask


def _main(ids: Ints, locks: list[tuple[Lock, Bools]]) -> Lock | None:
    """The lock to name: an output first, an option last, then the one that reaches most."""
    reached = [(int(mask[ids].sum()), lock) for lock, mask in locks]
    reached = [(n, lock) for n, lock in reached if n]
    if not reached:
        return None
    all_units = len(ids)
    return max(
        reached,
        key=lambda r: (r[0] == all_units, _WEIGHT[r[1].kind], r[0]),
    )[1]


def _head(graph: Graph, channels: ChannelMap, layer: Layer) -> str | None:
    """The first graph output that the layer leads to, if no other layer comes before any output."""
    layers = {x.node for x in channels.layers}
    outputs = set(graph.outputs)
    stack, seen = list(graph.ops[layer.node].outputs), set[str]()
    ends: list[str] = []
    while stack:
        name = stack.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        if name in outputs:
            ends.append(name)
        for reader in graph.readers(name):
            if reader.index in layers:
                return None
            stack.extend(reader.outputs)
    return min(ends, key=graph.outputs.index) if ends else None


class _Savings:
    """Multiply-adds that go with a group's channels, without counting the rest of the model."""

    def __init__(self, channels: ChannelMap) -> None:
        self._n_units = channels.n_units
        self._sites = channels.sites
        self._layers: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {
            (layer.node, i): (layer.positions, shape)
            for layer in channels.layers
            for i, shape in layer.weights
        }
        self._units = np.concatenate([s.ids for s in self._sites] or [np.empty(0, np.int64)])
        self._of = np.repeat(np.arange(len(self._sites)), [len(s.ids) for s in self._sites])

    def of(self, group: Group) -> int:
        """The multiply-adds that go with all channels of a group but one."""
        gone = np.zeros(self._n_units, dtype=np.bool_)
        gone[group.units[1:]] = True
        lost = np.bincount(self._of[gone[self._units]], minlength=len(self._sites))
        shorter: dict[tuple[int, int], dict[int, int]] = {}
        for k in np.flatnonzero(lost):
            site = self._sites[k]
            shorter.setdefault((site.node, site.input), {})[site.axis] = int(lost[k])
        saved = 0
        for place, axes in shorter.items():
            if place in self._layers:
                positions, shape = self._layers[place]
                left = prod(n - axes.get(axis, 0) for axis, n in enumerate(shape))
                saved += positions * (prod(shape) - left)
        return saved
