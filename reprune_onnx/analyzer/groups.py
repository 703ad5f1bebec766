"""Groups: the units that the same layers produce, chosen together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from reprune_onnx.types import Bools, Group, Ints, Labels, Layer, Producer, Site, Summed


def build_groups(
    layers: tuple[Layer, ...],
    reads: Sequence[Site | Summed],
    locked: Bools,
    names: dict[int, str],
) -> tuple[Group, ...]:
    """One group per connected set of layers; ``locked (n_units,)``, ``names`` of nodes by index.

    ``reads`` are the places where channels may be read, with a weight or without.

    Groups are in the order of their first layer, channels in the order of the layers' rows.
    """
    if not layers:
        return ()
    owner = _owners(layers, len(locked))
    members: dict[int, list[Layer]] = {}
    for layer in layers:
        members.setdefault(int(owner[layer.out_ids[0]]), []).append(layer)
    readers: dict[int, dict[int, str]] = {}
    for read in reads:
        if isinstance(read, Site) and read.role != "in":
            continue
        for k in set(owner[read.ids].tolist()):
            readers.setdefault(k, {})[read.node] = names[read.node]
    groups = []
    for number, producers in enumerate(members.values()):
        stacked = np.concatenate([layer.out_ids for layer in producers])
        units = stacked[np.sort(np.unique(stacked, return_index=True)[1])]
        consumers = readers.get(int(owner[producers[0].out_ids[0]]), {})
        groups.append(
            Group(
                id=number,
                units=units,
                free=~locked[units],
                producers=tuple(Producer(layer, _rows(layer, units)) for layer in producers),
                consumers=tuple(consumers.values()),
            )
        )
    return tuple(groups)


def sole_units(tensors: dict[str, Labels], locked: Bools) -> Bools:
    """Units ``(n_units,)`` that are all there is of some activation: it would be left empty."""
    sole = np.zeros_like(locked)
    for labels in tensors.values():
        if labels.ids.size == 1:
            sole[labels.ids.ravel()] = True
    return sole & ~locked


def never_empty(
    groups: tuple[Group, ...], tensors: dict[str, Labels], locked: Bools
) -> tuple[Group, ...]:
    """Add to each group the sets of channels of which one must stay, so that no part is empty.

    A part is what a Split or Slice takes of a layer's channels: an activation all of whose units
    are some, but not all, of a group's.
    """
    owner = np.full(len(locked), -1)
    position = np.zeros_like(owner)
    for g in groups:
        position[g.units], owner[g.units] = np.arange(g.n), g.id
    group_sizes = np.array([g.n for g in groups])
    sets: dict[int, set[tuple[int, ...]]] = {}
    for labels in tensors.values():
        units = np.unique(labels.ids)
        if locked[units].any():
            continue
        sizes = np.bincount(owner[units][owner[units] >= 0], minlength=len(groups))
        if (sizes == group_sizes).any() or not sizes.any():
            continue
        largest = int(sizes.argmax())
        part = tuple(np.sort(position[units[owner[units] == largest]]).tolist())
        sets.setdefault(largest, set()).add(part)
    return tuple(
        replace(g, nonempty=tuple(np.array(s, dtype=np.int64) for s in sorted(sets.get(g.id, ()))))
        for g in groups
    )


def _owners(layers: tuple[Layer, ...], n_units: int) -> Ints:
    """The connected component of each unit, where layers connect the units they produce."""
    rows = np.concatenate([np.full(len(k.out_ids), n_units + i) for i, k in enumerate(layers)])
    columns = np.concatenate([k.out_ids for k in layers])
    n = n_units + len(layers)
    edges = coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    component: Ints = connected_components(edges, directed=False)[1]
    return component[:n_units]


def _rows(layer: Layer, units: Ints) -> tuple[Ints, ...]:
    order = np.argsort(layer.out_ids)
    sorted_ids = layer.out_ids[order]
    starts = np.searchsorted(sorted_ids, units)
    stops = np.searchsorted(sorted_ids, units, side="right")
    return tuple(np.sort(order[a:b]) for a, b in zip(starts, stops, strict=True))
