"""The tensor that a layer's output becomes before anything non-linear happens to it.

After a layer there may be a BatchNormalization and other steps that scale and shift each channel,
and then an Add with a residual shortcut. The tensor at the end of these,
z = scale·y + shift + other, is what the rest of the network sees of the layer, so that is where
errors are compared: in units of the stream that the layer feeds, and with the error that the
shortcut itself carries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprune_onnx.activations.linear import Linear
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import ARITHMETIC, SAME_VALUES
from reprune_onnx.types import ChannelMap, Floats, Ints


@dataclass(frozen=True)
class Joint:
    """z = scale·y + shift + other, with ``scale`` and ``shift`` (n_out,) of the output channels.

    ``tensor`` is z, ``other`` the shortcut's name. ``low`` and ``high`` bound what a ReLU or Clip,
    the only reader of z, lets through; infinite where there is none. What a recurrent layer, or
    attention in one node, makes of its input is in no tensor: ``tensor`` is the input, and z that
    times ``matrix`` (n_out, D).
    In a file in QDQ form z is what it is but for values beyond the range of the rounded ones.
    """

    tensor: str
    scale: Floats
    shift: Floats
    other: str | None = None
    low: float = -np.inf
    high: float = np.inf
    matrix: Floats | None = None

    @property
    def bounded(self) -> bool:
        """Whether some errors do not matter."""
        return bool(np.isfinite([self.low, self.high]).any())

    def rows(self, layer: Linear, array: NDArray[Any], at: Ints) -> NDArray[Any]:
        """z (r, n_out) of ``layer`` at the positions ``at``, from the values of ``tensor``."""
        if self.matrix is None:
            return layer.outputs(array, at)
        x = layer.inputs(array, array.shape, at)[0]
        return np.asarray(x.astype(np.float64) @ self.matrix.T)


def joint_of(graph: Graph, channels: ChannelMap, layer: Linear, through_adds: bool = True) -> Joint:
    """Follow the output of a layer, up to a residual Add or, if that may be, behind it."""
    op, n_out = layer.op, layer.n_out
    if layer.hidden:
        (matrix,) = layer.matrix(graph.array(op.inputs[1]))
        return Joint(op.inputs[0], np.ones(n_out), -layer.bias(graph), matrix=matrix)
    name, scale, shift = op.outputs[0], np.ones(n_out), np.zeros(n_out)
    other: str | None = None
    while other is None:
        reader = only_reader(graph, name)
        if reader is None:
            break
        step = affine_step(graph, reader, name, layer)
        if rank_of(channels, reader.outputs[0]) != rank_of(channels, name):
            break
        if step is not None:
            scale, shift = scale * step[0], shift * step[0] + step[1]
        elif reader.type in ("Add", "Sum") and through_adds and _joins(channels, reader):
            other = reader.inputs[1 if reader.inputs[0] == name else 0]
        elif (reader.type not in SAME_VALUES or reader.domain) and not _of_rounding(graph, reader):
            break
        name = reader.outputs[0]
    low, high = _bounds(graph, name)
    return Joint(name, scale, shift, other, low, high)


def _of_rounding(graph: Graph, op: Op) -> bool:
    """Whether a node is the range of rounded values before the next step, which few values leave.

    It is a Clip that both signs pass, where it is no activation: before an Add, or a Relu or Clip.
    """
    if op.type != "Clip" or op.domain:
        return False
    low, high = limits(graph, op)
    reader = only_reader(graph, op.outputs[0])
    return low < 0 < high and reader is not None and reader.type in ("Add", "Sum", "Relu", "Clip")


def only_reader(graph: Graph, name: str) -> Op | None:
    """Return the node that reads a tensor, where it is the only one; outputs are read outside."""
    readers = graph.readers(name)
    return readers[0] if len(readers) == 1 and name not in graph.outputs else None


def rank_of(channels: ChannelMap, name: str) -> int | None:
    """The number of a tensor's axes; a constant that has more than what it meets adds some."""
    return len(channels.tensors[name].shape) if name in channels.tensors else None


def _joins(channels: ChannelMap, op: Op) -> bool:
    """Whether an Add sums two different activations of one shape."""
    shapes = [channels.tensors[i].shape for i in set(op.inputs) if i in channels.tensors]
    return len(op.inputs) == 2 and len(shapes) == 2 and shapes[0] == shapes[1]


def affine_step(graph: Graph, op: Op, x: str, layer: Linear) -> tuple[Floats, Floats] | None:
    """Return (scale, shift), (n_out,) each, of a node that does this to every channel of ``x``."""
    if op.type == "BatchNormalization" and op.inputs[0] == x:
        channel_wise = layer.op.type != "MatMul" and len([o for o in op.outputs if o]) == 1
        if not channel_wise or not all(map(graph.is_constant, op.inputs[1:])):
            return None
        gamma, beta, mean, var = (graph.array(i).astype(np.float64) for i in op.inputs[1:5])
        scale = gamma / np.sqrt(var + float(op.attrs.get("epsilon", 1e-5)))
        return scale, beta - mean * scale
    if op.type not in ARITHMETIC or len(op.inputs) != 2:
        return None
    first = op.inputs[0] == x
    constant = op.inputs[1 if first else 0]
    if not graph.is_constant(constant):
        return None
    n = layer.n_out
    value = per_channel(graph.array(constant), n, layer.trailing)
    if value is None or (op.type == "Div" and (not first or not value.all())):
        return None
    one, zero = np.ones(n), np.zeros(n)
    return {
        "Add": (one, value),
        "Sub": (one, -value) if first else (-one, value),
        "Mul": (value, zero),
        "Div": (1.0 / np.where(value == 0, 1.0, value), zero),
    }[op.type]


def per_channel(array: NDArray[Any], n: int, trailing: int) -> Floats | None:
    """A constant as one value per channel (n,); None where it varies along another axis.

    ``trailing`` axes come after the channels.
    """
    if array.size == 1:
        return np.full(n, float(array.reshape(-1)[0]))
    place = array.ndim - 1 - trailing
    if array.size != n or place < 0 or array.shape[place] != n:
        return None
    return array.astype(np.float64).reshape(-1)


def _bounds(graph: Graph, name: str) -> tuple[float, float]:
    """The bounds of the values that the only reader of ``name`` lets through."""
    reader = only_reader(graph, name)
    if reader is None or reader.domain:
        return -np.inf, np.inf
    if reader.type == "Relu":
        return 0.0, np.inf
    return limits(graph, reader) if reader.type == "Clip" else (-np.inf, np.inf)


def limits(graph: Graph, clip: Op) -> tuple[float, float]:
    """The bounds of a Clip; infinite where one is not given or not constant."""
    return _limit(graph, clip, 1, "min"), _limit(graph, clip, 2, "max")


def _limit(graph: Graph, op: Op, i: int, attribute: str) -> float:
    none = -np.inf if attribute == "min" else np.inf
    if op.has(i):  # ONNX Runtime takes shape (1,) as well as ()
        return graph.array(op.inputs[i]).item() if graph.is_constant(op.inputs[i]) else none
    return float(op.attrs.get(attribute, none))
