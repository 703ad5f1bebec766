"""The masked original: the consumers' input slices are zeroed at the dropped channels."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.precision import WIDE
from reprune_onnx.types import Bools, ChannelMap, Site, Summed
from reprune_onnx.verification.fed import FedModel


def masked_original(
    proto: onnx.ModelProto, channels: ChannelMap, keep: Bools, wide: Collection[int] = WIDE
) -> FedModel:
    """A copy whose consumers read zeros in place of the units that ``keep (n_units,)`` drops."""
    masked = FedModel(proto, wide)
    sites: dict[tuple[int, int], list[Site]] = {}
    for site in consumers(channels, keep):
        sites.setdefault((site.node, site.input), []).append(site)
    for (node, i), own in sites.items():
        array = constant(channels.graph, own[0].tensor).copy()
        for site in own:
            slices: list[Any] = [slice(None)] * array.ndim
            slices[site.axis] = ~keep[site.ids]
            array[tuple(slices)] = 0
        masked.rewire(masked.proto.graph.node[node], i, array)
    for read in sorted(sums(channels, keep), key=lambda s: s.node, reverse=True):
        labels = channels.tensors[channels.graph.ops[read.node].inputs[read.input]]
        shape = [-1 if axis == read.axis else 1 for axis in range(len(labels.shape))]
        kind = channels.graph.activation_type(channels.graph.ops[read.node].inputs[read.input])
        masked.multiply(read.node, read.input, (keep[read.ids].reshape(shape), kind))
    return masked


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
