"""The needs of a graph: what each of its nodes wants of what comes to it."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import onnx
from numpy.typing import NDArray

from reprune_onnx.sizes import kernel_needs, stated_needs
from reprune_onnx.sizes.need import Inputs, Need, Tensors

_LARGE = 1024  # numbers of a constant that no node takes for a shape
_WHOLE = {onnx.TensorProto.INT32, onnx.TensorProto.INT64}

BESIDE_EACH_OTHER = frozenset(
    {
        *("Add", "Concat", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        *("Max", "Mean", "Min", "Mod", "Mul", "PRelu", "Pow", "Sub", "Sum", "Where"),
    }
)
"""Ops whose inputs have to fit each other; the analyzer, which knows kinds of ops, comes later."""

_Wanting = Callable[[Tensors, onnx.NodeProto, Inputs], Need | None]
_WANTING: dict[str, tuple[_Wanting, ...]] = {
    "Reshape": (stated_needs.reshape,),
    "MatMul": (stated_needs.product,),
    "Gemm": (stated_needs.product, kernel_needs.gemm_bias),
    "Conv": (stated_needs.convolution, kernel_needs.convolution_groups, kernel_needs.kernel_window),
    "LayerNormalization": (stated_needs.normalization,),
    "RMSNormalization": (stated_needs.normalization,),
    "GatherElements": (stated_needs.elements_at_places,),
    "ScatterElements": (stated_needs.elements_at_places,),
    "ScatterND": (stated_needs.rows_at_places,),
    "GridSample": (stated_needs.grid_sample,),
    "Scan": (stated_needs.scan,),
    **dict.fromkeys(BESIDE_EACH_OTHER, (stated_needs.operands,)),
    "Resize": (kernel_needs.resize,),
    "Gather": (kernel_needs.gather,),
    "RoiAlign": (kernel_needs.roi_align,),
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), (kernel_needs.kernel_window,)),
    "SpaceToDepth": (kernel_needs.space_to_depth,),
    "Squeeze": (kernel_needs.squeeze,),
    "ReverseSequence": (kernel_needs.reverse_sequence,),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (kernel_needs.recurrent_layer,)),
}
_ONE_INPUT = {"AveragePool", "LpPool", "MaxPool", "Scan", "SpaceToDepth", "Squeeze"}
"""Ops that may read nothing beside what comes; others with one input want nothing."""


def need_of(tensors: Tensors, node: onnx.NodeProto) -> Need | None:
    """The first need of a node that is not met, else its last one; None where it wants nothing."""
    inputs = [tensors.extents.get(name) for name in node.input]
    if not inputs[0] or (0 in inputs[0] and node.op_type != "Reshape"):
        return None
    needs = [need for wanting in _wanting(node) if (need := wanting(tensors, node, inputs))]
    return next((need for need in needs if not need.is_met), needs[-1] if needs else None)


def wants(node: onnx.NodeProto) -> bool:
    """Whether a node may want anything of what comes to it."""
    return bool(_wanting(node))


def _wanting(node: onnx.NodeProto) -> tuple[_Wanting, ...]:
    """The functions that tell a node's needs; none where it takes any input."""
    least = 1 if node.op_type in _ONE_INPUT else 2
    return () if node.domain or len(node.input) < least else _WANTING.get(node.op_type, ())


def extents_of(type_: onnx.TypeProto) -> tuple[int, ...] | None:
    """The shape that is stated of a tensor, None where it is not known as a whole."""
    tensor = type_.tensor_type
    if not tensor.HasField("shape") or any(not d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def integers(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The small lists of whole numbers among the constants."""
    return {
        name: numbers.ravel().tolist()
        for name, t in constants_of(graph).items()
        if t.data_type in _WHOLE and (numbers := small_numbers(t)) is not None
    }


def small_numbers(tensor: onnx.TensorProto) -> NDArray[Any] | None:
    """The numbers of a small tensor; None of a large one, and in a copy without weights."""
    if prod(tensor.dims) > _LARGE:
        return None
    try:
        return onnx.numpy_helper.to_array(tensor)
    except ValueError:  # it has a shape, and no values
        return None


def constants_of(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Initializers and what Constant nodes hold, by name."""
    return {t.name: t for t in graph.initializer} | {
        node.output[0]: a.t
        for node in graph.node
        for a in node.attribute
        if node.op_type == "Constant" and a.HasField("t")
    }
