"""The cost of a model: multiply-adds, parameters, channels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

import onnx

from reprune_onnx.analyzer.dense import sparse_tensors
from reprune_onnx.analyzer.graph import FLOATS, Graph
from reprune_onnx.analyzer.hoist import BRANCHES, hoisted_proto, joined, prefix_of
from reprune_onnx.choices import Measure
from reprune_onnx.types import Bools, ChannelMap


@dataclass(frozen=True)
class Cost:
    """``macs``: multiply-adds of all layers with a weight, per image at the analysed input shape.

    Of the branches of an If those of the largest count, for a run takes one of them.

    ``scope_macs``: those of the layers that ``--include`` names, of all without it.
    ``params``: elements of the floating-point constants that nodes read. ``channels``: output
    channels of the layers.
    """

    macs: int
    params: int
    channels: int
    scope_macs: int


def cost(graph: Graph, channels: ChannelMap, keep: Bools | None = None) -> Cost:
    """The cost once only the units of ``keep (n_units,)`` are left; of the whole model by default.

    A layer needs ``positions · weight.size`` multiply-adds, so the shapes of the cut constants tell
    everything; nothing is cut for it. Products that channels pass cost as many of them as are left.
    """
    kept: dict[tuple[int, int], dict[int, int]] = {}
    gone = set[int]()  # the nodes of branches that went as a whole
    constants = 0  # the elements of what stands in their place
    if keep is not None:
        for site in channels.sites:
            kept.setdefault((site.node, site.input), {})[site.axis] = int(keep[site.ids].sum())
        for whole in channels.branches_gone(keep):
            gone |= whole.nodes
            constants += sum(int(keep[channels.tensors[end].ids].sum()) for end in whole.ends)
    macs, within = Counter[str](), Counter[str]()  # by branch
    out = 0
    for layer in channels.layers:
        own_macs = layer.positions * sum(
            _size(shape, kept.get((layer.node, i), {}))
            for i, shape in layer.weights
            if layer.node not in gone
        )
        branch = graph.branch_of(graph.ops[layer.node])
        macs[branch] += own_macs
        within[branch] += own_macs if channels.counts_layer(layer) else 0
        if layer.node not in gone:
            out += len(layer.out_ids) if keep is None else int(keep[layer.out_ids].sum())
    for product in channels.passing:
        left = product.macs * (len(product.ids) if keep is None else int(keep[product.ids].sum()))
        branch = graph.branch_of(graph.ops[product.node])
        macs[branch] += round(left)
        within[branch] += round(left) if channels.scope is None else 0
    params = constants + sum(
        _size(graph.shape(name), kept.get(reader, {}))
        for name, reader in weights(graph, channels, keep)
        if not gone or any(op.index not in gone for op in graph.readers(name))
    )
    return Cost(_of_a_run(graph, macs), params, out, _of_a_run(graph, within))


def _of_a_run(graph: Graph, macs: Counter[str]) -> int:
    """The multiply-adds of the main graph, and of the largest branch of each If that runs."""
    total = Counter(macs)
    for op in graph.ops:  # an If stands behind those in its branches
        if joined(op.proto):
            branches = [prefix_of(op.proto, branch) for branch in BRANCHES]
            total[graph.branch_of(op)] += max(total[branch] for branch in branches)
    return total[""]


def weights(
    graph: Graph, channels: ChannelMap, keep: Bools | None = None
) -> list[tuple[str, tuple[int, int]]]:
    """Each floating-point constant that nodes read, and one place (node, input) of it.

    Copies that Identity makes of one are one with it as long as all are cut alike, where only the
    units of ``keep (n_units,)`` are left; the surgeon sees to it.
    """
    copied: dict[str, dict[str, tuple[int, int]]] = {}
    for name, reader in graph.weights():
        copied.setdefault(graph.origin(name), {})[name] = reader
    several = {reader for uses in copied.values() if len(uses) > 1 for reader in uses.values()}
    left: dict[tuple[int, int], set[tuple[int, bytes]]] = {}
    for site in channels.sites:
        if keep is not None and (site.node, site.input) in several:
            mask = (site.axis, keep[site.ids].tobytes())
            left.setdefault((site.node, site.input), set()).add(mask)
    used: list[tuple[str, tuple[int, int]]] = []
    for uses in copied.values():
        places = list(uses.items())
        alike = all(left.get(place) == left.get(places[0][1]) for _, place in places)
        used += places[:1] if alike else places
    return used


def reduction(graph: Graph, channels: ChannelMap, keep: Bools, measure: Measure) -> float | None:
    """The share of the scope's multiply-adds, or of parameters, that goes; None of other measures.

    ``keep`` is ``(n_units,)``.
    """
    if measure not in ("macs", "params"):
        return None
    before, after = cost(graph, channels), cost(graph, channels, keep)
    if measure == "macs":
        return 1 - after.scope_macs / max(before.scope_macs, 1)
    return 1 - after.params / max(before.params, 1)


def _size(shape: tuple[int, ...], kept: dict[int, int]) -> int:
    return prod(kept.get(axis, n) for axis, n in enumerate(shape))


def parameters(proto: onnx.ModelProto) -> int:
    """The elements of the floating-point initializers and Constant nodes, in branches of If too.

    Weights in whole numbers, which a DequantizeLinear reads, are counted with them.

    Those that no node reads, also within bodies, are none of the model's, before a cut and after. A
    sparse tensor has as many as it has places.
    """
    proto = hoisted_proto(proto)
    graph = proto.graph
    read = {output.name for output in graph.output} | _read(graph)
    tensors = [t for t in graph.initializer if t.name in read]
    for node in graph.node:
        if node.op_type == "Constant" and read.intersection(node.output):
            tensors += [a.t for a in node.attribute]
    sparse = [t for name, t in sparse_tensors(proto) if name in read]
    whole = {n.input[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    dims = [t.dims for t in tensors if t.data_type in FLOATS or t.name in whole]
    dims += [t.dims for t in sparse if t.values.data_type in FLOATS]
    return sum(prod(extents) for extents in dims)


def _read(graph: onnx.GraphProto) -> set[str]:
    names: set[str] = set()
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                names |= _read(body) | {output.name for output in body.output}
    return names
