"""The needs of a graph: what each of its nodes wants of what comes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from math import prod

import onnx

from reprune_onnx import kernel_needs, stated_needs
from reprune_onnx.need import Comes, Known, Need, title

_LARGE = 1024  # numbers of a constant that no node takes for a shape
_WHOLE = {onnx.TensorProto.INT32, onnx.TensorProto.INT64}

BESIDE_EACH_OTHER = frozenset(
    {
        *("Add", "Concat", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        *("Max", "Mean", "Min", "Mod", "Mul", "PRelu", "Pow", "Sub", "Sum", "Where"),
    }
)
"""Ops whose inputs have to fit each other; the analyzer, which knows kinds of ops, comes later."""

_Wanting = Callable[[Known, onnx.NodeProto, Comes], Need | None]
_WANTING: dict[str, tuple[_Wanting, ...]] = {
    "Reshape": (stated_needs.reshaped,),
    "MatMul": (stated_needs.multiplied,),
    "Gemm": (stated_needs.multiplied, kernel_needs.added),
    "Conv": (stated_needs.convolved, kernel_needs.windowed),
    "LayerNormalization": (stated_needs.normalized,),
    "RMSNormalization": (stated_needs.normalized,),
    "GatherElements": (stated_needs.read,),
    "ScatterElements": (stated_needs.read,),
    "ScatterND": (stated_needs.written,),
    "GridSample": (stated_needs.sampled,),
    "Scan": (stated_needs.scanned,),
    **dict.fromkeys(BESIDE_EACH_OTHER, (stated_needs.beside,)),
    "Resize": (kernel_needs.interpolated,),
    "Gather": (kernel_needs.gathered,),
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), (kernel_needs.windowed,)),
    "SpaceToDepth": (kernel_needs.in_blocks,),
    "Squeeze": (kernel_needs.squeezed,),
    "ReverseSequence": (kernel_needs.turned,),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (kernel_needs.remembered,)),
}
_ONE_INPUT = {"AveragePool", "LpPool", "MaxPool", "Scan", "SpaceToDepth", "Squeeze"}
"""Ops that may read nothing beside what comes; others with one input want nothing."""


class Needs:
    """The needs of a graph whose shapes were inferred."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        values = (*graph.value_info, *graph.input, *graph.output)
        weights = {name: tuple(t.dims) for name, t in constants_of(graph).items()}
        extents = {v.name: extents_of(v) for v in values} | weights
        self._known = Known(extents, weights, integers(graph))
        self._asked = [n for n in graph.node if _wanting(n)]

    def known(self) -> Iterator[Need]:
        """Yield those of nodes of which inference knows what comes to them."""
        needs = map(self.of, self._asked)
        yield from (need for need in needs if need is not None)

    def blind(self) -> list[onnx.NodeProto]:
        """The nodes of which it does not."""
        return [node for node in self._asked if self.unknown(node) or self.computed(node)]

    def unknown(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of a node of which inference does not know the extents."""
        data = node.input[:1] if node.op_type == "Reshape" else node.input
        return [name for name in data if name and self._known.extents.get(name) is None]

    def computed(self, node: onnx.NodeProto) -> list[str]:
        """The input of a node that is a shape, where inference does not know its numbers."""
        stated = node.op_type != "Reshape" or node.input[1] in self._known.integers
        return [] if stated or self._known.extents.get(node.output[0]) else [node.input[1]]

    def seen(self, node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> Need | None:
        """What ``node`` wants, where ``shapes`` were seen in a run.

        They are those of its tensors, and of `computed` ones the numbers.
        """
        targets = [name for name in self.computed(node) if name in shapes]
        extents = {name: shape for name, shape in shapes.items() if name not in targets}
        numbers = {name: list(shapes[name]) for name in targets}
        known = replace(
            self._known,
            extents={**self._known.extents, **extents},
            integers={**self._known.integers, **numbers},
        )
        return _need(known, node)

    def of(self, node: onnx.NodeProto) -> Need | None:
        """What a node wants, if it wants anything of what comes to it."""
        return _need(self._known, node)


class Order:
    """The order of a graph's nodes, by what sentences call them."""

    def __init__(self, nodes: Iterable[onnx.NodeProto]) -> None:
        self._places = {title(node): k for k, node in enumerate(nodes)}

    def behind(self, other: Need, need: Need) -> bool:
        """Whether ``other`` is of a later node: what fails earlier says nothing of ``need``."""
        places = self._places
        return places.get(other.node, len(places)) > places.get(need.node, -1)


def _need(known: Known, node: onnx.NodeProto) -> Need | None:
    """The first need of a node that is not met, else its last one."""
    comes = [known.extents.get(name) for name in node.input]
    if not comes[0] or (0 in comes[0] and node.op_type != "Reshape"):
        return None
    needs = [need for wanting in _wanting(node) if (need := wanting(known, node, comes))]
    return next((need for need in needs if not need.is_met), needs[-1] if needs else None)


def _wanting(node: onnx.NodeProto) -> tuple[_Wanting, ...]:
    """The functions that tell a node's needs; none where it takes any input."""
    least = 1 if node.op_type in _ONE_INPUT else 2
    return () if node.domain or len(node.input) < least else _WANTING.get(node.op_type, ())


def extents_of(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape that is stated of a tensor, None where it is not known as a whole."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or any(not d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def integers(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The small lists of whole numbers among the constants."""
    return {
        name: onnx.numpy_helper.to_array(t).ravel().tolist()
        for name, t in constants_of(graph).items()
        if t.data_type in _WHOLE and prod(t.dims) < _LARGE
    }


def constants_of(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Initializers and what Constant nodes hold, by name."""
    return {t.name: t for t in graph.initializer} | {
        node.output[0]: a.t
        for node in graph.node
        for a in node.attribute
        if node.op_type == "Constant" and a.HasField("t")
    }
