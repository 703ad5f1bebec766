"""The extents that nodes need of their inputs.

Reshapes go to numbers that are stated, or computed in part; products have matrices of fixed rows,
normalizations have scales of fixed extents, what is read and written at places has theirs, and what
stands beside constants has those of the constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from math import prod

import onnx

_LARGE = 1024  # numbers of a constant that no node takes for a shape

Extents = Mapping[str, tuple[int, ...] | None]
Comes = Sequence[tuple[int, ...] | None]


@dataclass(frozen=True)
class Need:
    """``have`` numbers come to ``node``, which wants ``want``; ``is_met`` says whether they fit.

    ``first`` is what its first extent has to be, where that is fixed. ``node`` is empty where only
    shape inference says that something does not fit, which does not know every op, and ``known`` is
    False where shape inference has not seen it.
    """

    node: str
    reason: str
    have: int = 0
    want: int = 0
    is_met: bool = False
    first: int = 0
    known: bool = True


class Needs:
    """The needs of a graph whose shapes were inferred."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        values = (*graph.value_info, *graph.input, *graph.output)
        self._weights = {name: tuple(t.dims) for name, t in constants_of(graph).items()}
        self._extents: Extents = {v.name: extents_of(v) for v in values} | self._weights
        self._constants = integers(graph)
        self._asked = [n for n in graph.node if _wanting(n) is not None and len(n.input) > 1]

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
        return [name for name in data if name and self._extents.get(name) is None]

    def computed(self, node: onnx.NodeProto) -> list[str]:
        """The input of a node that is a shape, where inference does not know its numbers."""
        stated = node.op_type != "Reshape" or node.input[1] in self._constants
        return [] if stated or self._extents.get(node.output[0]) else [node.input[1]]

    def seen(self, node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> Need | None:
        """What ``node`` wants, where ``shapes`` were seen in a run.

        They are those of its tensors, and of `computed` ones the numbers.
        """
        targets = self.computed(node)
        own = copy(self)
        own._extents = {**self._extents, **{n: s for n, s in shapes.items() if n not in targets}}
        own._constants = {**self._constants, **{name: list(shapes[name]) for name in targets}}
        return own.of(node)

    def of(self, node: onnx.NodeProto) -> Need | None:
        """What a node wants, if it wants anything of what comes to it."""
        comes = [self._extents.get(name) for name in node.input]
        wanting = _wanting(node)
        if wanting is None or not comes[0] or 0 in comes[0]:
            return None
        return wanting(self, node, comes)

    def reshaped(self, node: onnx.NodeProto, comes: Comes) -> Need | None:
        """A Reshape wants as many numbers as it makes."""
        data = comes[0] or ()
        made = node.output[0]
        target = self._constants.get(node.input[1], self._extents.get(made)) or [-1]
        to = [data[k] if n == 0 and k < len(data) else n for k, n in enumerate(target)]
        have, want = prod(data), prod(n for n in to if n > 0)
        text = f"{_title(node)} makes {times(to)} of {times(data)}"
        is_met = not have % max(want, 1) if -1 in to else have == want
        return Need(_title(node), text, have, want, is_met, max(target[0], 0))

    def multiplied(self, node: onnx.NodeProto, comes: Comes) -> Need | None:
        """A product wants as many columns as its matrix has rows."""
        data, rows = comes[0] or (), comes[1]
        flags = {a.name: a.i for a in node.attribute}
        if not rows or len(rows) < 2 or flags.get("transA"):
            return None
        have, want = data[-1], rows[-1] if flags.get("transB") else rows[-2]
        text = f"{_title(node)} multiplies {times(data)} with {times(rows)}"
        return Need(_title(node), text, have, want, have == want)

    def convolved(self, node: onnx.NodeProto, comes: Comes) -> Need | None:
        """A convolution wants the channels of its kernel, in each of its groups."""
        data, kernel = comes[0] or (), comes[1]
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if not kernel or len(data) < 2 or len(kernel) < 2:
            return None
        have, want = data[1], kernel[1] * groups
        text = f"{_title(node)} has {times(data)} under {groups} × {times(kernel)}"
        return Need(_title(node), text, have, want, have == want)

    def normalized(self, node: onnx.NodeProto, comes: Comes) -> Need | None:
        """A normalization wants the extents of its scale, where that is not repeated."""
        axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
        data, scale = (comes[0] or ())[axis:], comes[1]
        if not scale or len(scale) != len(data) or 1 in scale:
            return None
        text = f"{_title(node)} scales {times(data)} by {times(scale)}"
        return Need(_title(node), text, prod(data), prod(scale), data == scale)

    def beside(self, node: onnx.NodeProto, comes: Comes) -> Need | None:
        """What stands beside other tensors wants their extents: constants, else the smallest.

        Where a Concat joins them, along all other axes; elsewhere where neither is repeated.
        """
        joined = next((a.i for a in node.attribute if a.name == "axis"), None)
        tensors = list(zip(node.input, comes, strict=True))
        if node.op_type == "Concat" and len({len(extents or ()) for extents in comes}) > 1:
            return None
        whole = [(name in self._weights, extents) for name, extents in tensors if extents]
        whole.sort(key=lambda one: (not one[0], prod(one[1])))
        if len(whole) < 2 or whole[-1][0]:
            return None
        fixed, moves = whole[0][1], whole[-1][1]
        pairs = [
            (a, b)
            for k, (a, b) in enumerate(zip(reversed(moves), reversed(fixed), strict=False))
            if (
                len(moves) - 1 - k != joined % len(moves) if joined is not None else 1 not in (a, b)
            )
        ]
        have, want = prod(a for a, _ in pairs), prod(b for _, b in pairs)
        text = f"{_title(node)} has {times(moves)} beside {times(fixed)}"
        is_met = all(a == b for a, b in pairs)
        repeated = joined is None and moves[0] == 1
        first = 0 if len(fixed) != len(moves) or joined == 0 or repeated else fixed[0]
        return Need(_title(node), text, have, want, is_met, first)

    def read(self, node: onnx.NodeProto, comes: Comes) -> Need | None:
        """Elements at places want as much beside them as there are places, along all other axes."""
        data, places = comes[0] or (), comes[1]
        if not places or len(places) != len(data):
            return None
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0) % len(data)
        text = f"{_title(node)} has {times(places)} places in {times(data)}"
        pairs = [pair for k, pair in enumerate(zip(data, places, strict=True)) if k != axis]
        return _apart(node, text, [(a, max(a, b)) for a, b in pairs])

    def written(self, node: onnx.NodeProto, comes: Comes) -> Need | None:
        """Rows that are written at places want the extents of the rows that they replace."""
        data, places, rows = (*comes, None, None)[:3]
        if not data or not places or rows is None or places[-1] > len(data):
            return None
        want = (*places[:-1], *data[places[-1] :])
        if len(want) != len(rows):
            return None
        text = f"{_title(node)} writes {times(rows)} in place of {times(want)}"
        return _apart(node, text, list(zip(want, rows, strict=True)))

    def sampled(self, node: onnx.NodeProto, comes: Comes) -> Need | None:
        """What is read by a grid wants as many images as there are grids."""
        data, grid = comes[0] or (), comes[1]
        if not grid:
            return None
        text = f"{_title(node)} reads {times(data)} at {times(grid)} places"
        return _apart(node, text, [(data[0], grid[0])])


def _apart(node: onnx.NodeProto, text: str, pairs: Sequence[tuple[int, int]]) -> Need:
    """The need of a node at which of some extents, each beside what it should be, a few differ."""
    other = [(a, b) for a, b in pairs if a != b]
    have, want = (prod(extents) for extents in zip(*other, strict=True)) if other else (1, 1)
    return Need(_title(node), text, have, want, not other, other[0][1] if other else 0)


BESIDE_EACH_OTHER = frozenset(
    {
        *("Add", "Concat", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        *("Max", "Mean", "Min", "Mod", "Mul", "PRelu", "Pow", "Sub", "Sum", "Where"),
    }
)
"""Ops whose inputs have to fit each other; the analyzer, which knows kinds of ops, comes later."""

_WANTING: dict[str, Callable[[Needs, onnx.NodeProto, Comes], Need | None]] = {
    "Reshape": Needs.reshaped,
    "MatMul": Needs.multiplied,
    "Gemm": Needs.multiplied,
    "Conv": Needs.convolved,
    "LayerNormalization": Needs.normalized,
    "RMSNormalization": Needs.normalized,
    "GatherElements": Needs.read,
    "ScatterElements": Needs.read,
    "ScatterND": Needs.written,
    "GridSample": Needs.sampled,
    **dict.fromkeys(BESIDE_EACH_OTHER, Needs.beside),
}


def _wanting(node: onnx.NodeProto) -> Callable[[Needs, onnx.NodeProto, Comes], Need | None] | None:
    """What tells the need of a node, None where it takes whatever comes."""
    return None if node.domain else _WANTING.get(node.op_type)


def _title(node: onnx.NodeProto) -> str:
    return f"{node.op_type} '{node.name or node.output[0]}'"


def extents_of(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape that is stated of a tensor, None where it is not known as a whole."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or any(not d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def times(shape: tuple[int, ...] | list[int]) -> str:
    """A shape as it is written in a sentence."""
    return "×".join(map(str, shape)) or "a number"


def integers(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The small lists of whole numbers among the constants."""
    return {
        name: onnx.numpy_helper.to_array(t).ravel().tolist()
        for name, t in constants_of(graph).items()
        if t.data_type == onnx.TensorProto.INT64 and prod(t.dims) < _LARGE
    }


def constants_of(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Initializers and what Constant nodes hold, by name."""
    return {t.name: t for t in graph.initializer} | {
        node.output[0]: a.t
        for node in graph.node
        for a in node.attribute
        if node.op_type == "Constant" and a.HasField("t")
    }
