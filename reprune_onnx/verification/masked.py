"""The masked original: the consumers' input slices are zeroed at the dropped channels.

Statistics over channels, as of a LayerNormalization, are those of the kept ones, as in the pruned
model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.precision import WIDE
from reprune_onnx.types import Bools, ChannelMap, Site, Statistic, Summed
from reprune_onnx.verification.fed_model import FedModel, Slices


def masked_original(
    graph: Graph, channels: ChannelMap, keep: Bools, wide: Collection[int] = WIDE
) -> FedModel:
    """A copy whose consumers read zeros in place of the units that ``keep (n_units,)`` drops."""
    masked = FedModel(graph.proto, wide)
    sites: dict[tuple[int, int], list[Site]] = {}
    for site in consumers(channels, keep):
        sites.setdefault((site.node, site.input), []).append(site)
    for (node, i), of_input in sites.items():
        array = constant(graph, of_input[0].tensor).copy()
        for site in of_input:
            slices: list[Any] = [slice(None)] * array.ndim
            slices[site.axis] = ~keep[site.ids]
            array[tuple(slices)] = 0
        masked.rewire(masked.proto.graph.node[node], i, array)
    taken = [s for s in channels.statistics if 0 < keep[s.ids].sum() < len(s.ids)]
    for norm in taken:
        _parameters(masked, graph, channels, norm, keep)
    reads: list[Statistic | Summed] = [*taken, *sums(channels, keep)]
    for read in sorted(reads, key=lambda r: r.node, reverse=True):  # nodes behind it move
        if isinstance(read, Statistic):
            _over_kept(masked, read, keep)
        else:
            _zeroed(masked, graph, channels, read, keep)
    return masked


def _zeroed(
    masked: FedModel, graph: Graph, channels: ChannelMap, read: Summed, keep: Bools
) -> None:
    """Let a product of two activations read zeros in place of the dropped channels of one."""
    name = graph.ops[read.node].inputs[read.input]
    shape = [-1 if axis == read.axis else 1 for axis in range(len(channels.tensors[name].shape))]
    factor = keep[read.ids].reshape(shape), graph.activation_type(name)
    masked.multiply(read.node, read.input, factor)


def _parameters(
    masked: FedModel, graph: Graph, channels: ChannelMap, norm: Statistic, keep: Bools
) -> None:
    """Let a norm over the kept channels read their scale and bias alone."""
    for site in channels.sites:
        if site.node == norm.node and site.role == "param":
            array = constant(graph, site.tensor)
            left = array.take(np.flatnonzero(keep[site.ids]), axis=site.axis)
            masked.rewire(masked.proto.graph.node[site.node], site.input, left)


def _over_kept(masked: FedModel, read: Statistic, keep: Bools) -> None:
    """Let a statistic be that of the kept channels.

    What it makes has all channels again where readers expect them. No reader looks at those that
    were dropped, and any value does for them.
    """
    kept = keep[read.ids]
    n = len(kept) if read.times > 1 else None
    back = np.where(kept, np.cumsum(kept) - 1, 0)
    m = None if n is None else int(kept.sum())
    for k in read.outputs:
        masked.take_of_output(read.node, k, Slices(back, read.axis, m))
    masked.take_of_inputs(read.node, read.inputs, Slices(np.flatnonzero(kept), read.axis, n))


def consumers(channels: ChannelMap, keep: Bools) -> Iterator[Site]:
    """The sites that read a dropped unit."""
    return (s for s in channels.sites if s.role == "in" and not keep[s.ids].all())


def sums(channels: ChannelMap, keep: Bools) -> list[Summed]:
    """The products that sum a dropped unit of two activations; one place of each.

    Zero in one of the two is zero in the sum.
    """
    first: dict[int, Summed] = {}
    for read in channels.summed:
        if not keep[read.ids].all():
            first.setdefault(read.node, read)
    return list(first.values())


def constant(graph: Graph, name: str) -> NDArray[Any]:
    """A weight as ONNX Runtime runs it: float16 as it is, any other type as float32."""
    array = graph.array(name)
    return array if array.dtype == np.float16 else array.astype(np.float32, copy=False)
