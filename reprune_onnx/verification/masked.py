"""The masked original: the consumers' input slices are zeroed at the dropped channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.types import Bools, ChannelMap, Site


def masked_original(proto: onnx.ModelProto, channels: ChannelMap, keep: Bools) -> onnx.ModelProto:
    """A copy whose consumers read zeros in place of the units that ``keep (n_units,)`` drops."""
    masked = onnx.ModelProto()
    masked.CopyFrom(proto)
    arrays: dict[tuple[int, int], NDArray[Any]] = {}
    for site in consumers(channels, keep):
        key = (site.node, site.input)
        if key not in arrays:
            arrays[key] = constant(channels.graph, site.tensor).copy()
        slices: list[Any] = [slice(None)] * arrays[key].ndim
        slices[site.axis] = ~keep[site.ids]
        arrays[key][tuple(slices)] = 0
    for (node, i), array in arrays.items():
        rewire(masked, masked.graph.node[node], i, array)
    return masked


def consumers(channels: ChannelMap, keep: Bools) -> Iterator[Site]:
    """The sites that read a dropped unit."""
    return (s for s in channels.sites if s.role == "in" and not keep[s.ids].all())


def constant(graph: Graph, name: str) -> NDArray[Any]:
    """A weight as ONNX Runtime runs it: float16 as it is, any other type as float32."""
    array = graph.array(name)
    return array if array.dtype == np.float16 else array.astype(np.float32)


def rewire(proto: onnx.ModelProto, node: onnx.NodeProto, i: int, array: NDArray[Any]) -> None:
    """Let input ``i`` of ``node`` read ``array``, and nothing else change."""
    name = f"{node.input[i]}__{len(proto.graph.initializer)}"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    if proto.ir_version < 4:
        info = onnx.helper.make_tensor_value_info(
            name, proto.graph.initializer[-1].data_type, array.shape
        )
        proto.graph.input.append(info)
    node.input[i] = name
