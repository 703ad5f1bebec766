"""The masked original: the consumers' input slices are zeroed at the dropped channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from reprune_onnx.analyzer.graph import Graph, captured
from reprune_onnx.types import Bools, ChannelMap, Site


def masked_original(proto: onnx.ModelProto, channels: ChannelMap, keep: Bools) -> onnx.ModelProto:
    """A copy whose consumers read zeros in place of the units that ``keep (n_units,)`` drops."""
    masked = onnx.ModelProto()
    masked.CopyFrom(proto)
    sites: dict[tuple[int, int], list[Site]] = {}
    for site in consumers(channels, keep):
        sites.setdefault((site.node, site.input), []).append(site)
    for (node, i), own in sites.items():
        array = constant(channels.graph, own[0].tensor).copy()
        for site in own:
            slices: list[Any] = [slice(None)] * array.ndim
            slices[site.axis] = ~keep[site.ids]
            array[tuple(slices)] = 0
        rewire(masked, masked.graph.node[node], i, array)
    _drop_unread(masked, channels.graph)
    return masked


def _drop_unread(proto: onnx.ModelProto, graph: Graph) -> None:
    """Remove the weights that nobody reads any more: a large model would be held twice."""
    read = {name for node in proto.graph.node for name in node.input}
    read |= {name for op in graph.ops for name in captured(op)}
    read |= {value.name for value in (*proto.graph.input, *proto.graph.output)}
    for tensor in [t for t in proto.graph.initializer if t.name not in read]:
        proto.graph.initializer.remove(tensor)


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
