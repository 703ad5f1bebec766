"""Ops that a device lacks, written out in ops that it has.

Each function returns the nodes that make the op's first output from its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike

from reprune_onnx.analyzer.graph import Op


class Draft:
    """The nodes that replace one node, with the constants that they read."""

    def __init__(self, op: Op, dtype: np.dtype[Any]) -> None:
        self.op = op
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._dtype = dtype
        self._root = next(o for o in op.outputs if o)

    def add(self, kind: str, *inputs: str, last: bool = False, **attributes: float) -> str:
        """Add a node; the name of its output, which is the op's own for the ``last`` one."""
        k = len(self.nodes)
        output = self._root if last else f"{self._root}__{kind.lower()}{k}"
        name = self.op.name if last else f"{self.op.name}__{kind.lower()}{k}"
        self.nodes.append(
            onnx.helper.make_node(kind, inputs, [output], name, None, None, None, **attributes)
        )
        return output

    def constant(self, value: ArrayLike, dtype: DTypeLike | None = None) -> str:
        """Add a constant, a float of the op's own type unless ``dtype`` is given; its name."""
        name = f"{self._root}__constant{len(self.tensors)}"
        array = np.asarray(value, dtype=dtype or self._dtype)
        self.tensors.append(onnx.numpy_helper.from_array(array, name))
        return name


def _hard_swish(d: Draft) -> None:
    x = d.op.inputs[0]
    gate = d.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    d.add("Mul", x, gate, last=True)


def _mish(d: Draft) -> None:
    x = d.op.inputs[0]
    d.add("Mul", x, d.add("Tanh", d.add("Softplus", x)), last=True)


def _swish(d: Draft) -> None:
    x = d.op.inputs[0]
    alpha = float(d.op.attrs.get("alpha", 1.0))
    scaled = x if alpha == 1.0 else d.add("Mul", x, d.constant(alpha))
    d.add("Mul", x, d.add("Sigmoid", scaled), last=True)


def _gelu(d: Draft) -> None:
    x = d.op.inputs[0]
    if d.op.attrs.get("approximate", b"none") == b"tanh":
        cube = d.add("Mul", d.add("Mul", x, x), d.add("Mul", x, d.constant(0.044715)))
        inner = d.add("Mul", d.add("Add", x, cube), d.constant(math.sqrt(2 / math.pi)))
        gate = d.add("Tanh", inner)
    else:
        gate = d.add("Erf", d.add("Mul", x, d.constant(math.sqrt(0.5))))
    half = d.add("Mul", x, d.constant(0.5))
    d.add("Mul", half, d.add("Add", gate, d.constant(1.0)), last=True)


def _reciprocal(d: Draft) -> None:
    d.add("Div", d.constant(1.0), d.op.inputs[0], last=True)


EXPANSIONS: dict[str, Callable[[Draft], None]] = {
    "Gelu": _gelu,
    "HardSwish": _hard_swish,
    "Mish": _mish,
    "Reciprocal": _reciprocal,
    "Swish": _swish,
}
