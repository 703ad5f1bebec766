"""What nodes want of what comes to them.

Reshapes go to constant numbers, products have matrices of fixed rows, normalizations have scales of
fixed extents, and what stands beside constants has theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
        needs = (self.of(node, self._extents) for node in self._asked)
        yield from (need for need in needs if need is not None)

    def blind(self) -> list[onnx.NodeProto]:
        """The nodes of which it does not."""
        return [node for node in self._asked if self.unknown(node)]

    def unknown(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of a node of which inference does not know the extents."""
        return [name for name in node.input if name and self._extents.get(name) is None]

    def seen(self, node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> Need | None:
        """What ``node`` wants, where tensors of these ``shapes`` were seen in a run."""
        return self.of(node, {**self._extents, **shapes})

    def of(self, node: onnx.NodeProto, extents: Extents) -> Need | None:
        """What a node wants, if it wants anything of what comes to it."""
        comes = [extents.get(name) for name in node.input]
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


_WANTING: dict[str, Callable[[Needs, onnx.NodeProto, Comes], Need | None]] = {
    "Reshape": Needs.reshaped,
    "MatMul": Needs.multiplied,
    "Gemm": Needs.multiplied,
    "Conv": Needs.convolved,
    "LayerNormalization": Needs.normalized,
    "RMSNormalization": Needs.normalized,
    **dict.fromkeys(("Add", "Concat", "Div", "Mul", "Sub", "Where"), Needs.beside),
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
