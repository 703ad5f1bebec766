"""What nodes want of what comes to them: Reshapes to constant numbers, products with matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import onnx

_LARGE = 1024  # numbers of a constant that no node takes for a shape

Extents = Mapping[str, tuple[int, ...] | None]


@dataclass(frozen=True)
class Need:
    """``have`` numbers come to ``node``, which wants ``want``, or a multiple if not ``exact``.

    ``first`` is what its first extent has to be, where that is fixed. ``node`` is empty where only
    shape inference says that something does not fit, which does not know every op, and ``known`` is
    False where shape inference has not seen it.
    """

    node: str
    reason: str
    have: int = 0
    want: int = 0
    exact: bool = False
    first: int = 0
    known: bool = True

    @property
    def is_met(self) -> bool:
        """Whether as much comes as is wanted."""
        return self.have == self.want if self.exact else not self.have % max(self.want, 1)


class Needs:
    """The needs of a graph whose shapes were inferred."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        values = (*graph.value_info, *graph.input, *graph.output)
        weights = {t.name: tuple(t.dims) for t in graph.initializer}
        self._extents: Extents = {v.name: extents_of(v) for v in values} | weights
        self._constants = integers(graph)
        self._asked = [node for node in graph.node if _is_asked(node)]

    def known(self) -> Iterator[Need]:
        """Yield those of nodes of which inference knows what comes to them."""
        needs = (self.of(node, self._extents) for node in self._asked)
        yield from (need for need in needs if need is not None)

    def blind(self) -> list[onnx.NodeProto]:
        """The nodes of which it does not."""
        return [node for node in self._asked if self._extents.get(node.input[0]) is None]

    def seen(self, node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> Need | None:
        """What ``node`` wants, where tensors of these ``shapes`` were seen in a run."""
        return self.of(node, {**self._extents, **shapes})

    def of(self, node: onnx.NodeProto, extents: Extents) -> Need | None:
        """What a node wants, if it wants anything of what comes to it."""
        data = extents.get(node.input[0])
        if not data or 0 in data:
            return None
        title = f"{node.op_type} '{node.name or node.output[0]}'"
        if node.op_type == "Reshape":
            target = self._constants.get(node.input[1], extents.get(node.output[0])) or [-1]
            to = [data[k] if n == 0 and k < len(data) else n for k, n in enumerate(target)]
            want = prod(n for n in to if n > 0)
            text = f"{title} makes {times(to)} of {times(data)}"
            return Need(title, text, prod(data), want, -1 not in to, max(target[0], 0))
        rows = extents.get(node.input[1])
        flags = {a.name: a.i for a in node.attribute}
        if not rows or len(rows) < 2 or flags.get("transA"):
            return None
        want = rows[-1] if flags.get("transB") else rows[-2]
        text = f"{title} multiplies {times(data)} with {times(rows)}"
        return Need(title, text, data[-1], want, exact=True)


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


def _is_asked(node: onnx.NodeProto) -> bool:
    """Whether a node may want numbers of a kind of what comes to it."""
    return not node.domain and node.op_type in ("Reshape", "MatMul", "Gemm") and len(node.input) > 1
