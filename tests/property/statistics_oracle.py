"""The judge where a mean, norm or extreme is taken over channels of which some went.

In the pruned file it is over those that are left, so it is here: a Gather before the node and,
where the channels pass it, another one behind.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Arrays = Mapping[str, NDArray[np.float32]]
_BY_AXIS = {
    "LayerNormalization": -1,
    "RMSNormalization": -1,
    "SkipLayerNormalization": -1,
    "SkipSimplifiedLayerNormalization": -1,
    "GroupNormalization": 1,
    "InstanceNormalization": 2,
}
"""Norms over all axes from one on, which is the default of their attribute."""
_TAKEN = {"SkipLayerNormalization": 2, "SkipSimplifiedLayerNormalization": 2}
"""The number of first inputs that have the channels; others one."""


def is_statistic(node: onnx.NodeProto) -> bool:
    names = {*_BY_AXIS, "LpNormalization", "MeanVarianceNormalization"}
    return node.op_type.startswith("Reduce") or node.op_type in names


def statistic_axis(node: onnx.NodeProto, before: Arrays, after: Arrays) -> int | None:
    """The axis along which channels went that the node looks over; None where it does not."""
    x, y = node.input[0], node.output[0]
    extents = zip(before[x].shape, after[x].shape, strict=True)
    shorter = [axis for axis, (n, m) in enumerate(extents) if n != m]
    if len(shorter) != 1:
        return None
    if node.op_type.startswith("Reduce"):
        return shorter[0] if before[y].shape == after[y].shape else None
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    rank = before[x].ndim
    if node.op_type == "MeanVarianceNormalization":
        axes = [axis % rank for axis in attributes.get("axes", [0, 2, 3])]
    elif node.op_type == "LpNormalization":
        axes = [attributes.get("axis", -1) % rank]
    elif attributes.get("num_groups", 1) > 1:
        axes = []
    else:
        axes = list(range(attributes.get("axis", _BY_AXIS[node.op_type]) % rank, rank))
    return shorter[0] if shorter[0] in axes else None


def look_over_kept(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    gone: tuple[NDArray[np.bool_], int],
    parameters: Mapping[int, NDArray[np.float32]],
) -> None:
    """Let the node look over what is left; ``parameters`` are the pruned file's, by input.

    ``gone`` says which channels went, and along which axis they lie.
    """
    which, axis = gone
    name = node.output[0]
    kept = np.flatnonzero(~which)
    back = np.where(which, 0, np.cumsum(~which) - 1)
    for i in range(_TAKEN.get(node.op_type, 1)):
        if i in parameters:
            continue
        _gather(model, (node.input[i], f"{name}_left{i}"), kept, axis)
        node.input[i] = f"{name}_left{i}"
    for i, array in parameters.items():
        node.input[i] = _constant(model, f"{name}_parameter{i}", array)
    if node.op_type.startswith("Reduce"):
        return
    for k, made in enumerate(node.output):
        if made:
            node.output[k] = f"{made}_few"
            _gather(model, (f"{made}_few", made), back, axis)


def _gather(
    model: onnx.ModelProto, names: tuple[str, str], places: NDArray[np.int64], axis: int
) -> None:
    read, made = names
    indices = _constant(model, f"{made}_places", places)
    model.graph.node.append(helper.make_node("Gather", [read, indices], [made], axis=axis))


def _constant(model: onnx.ModelProto, name: str, array: NDArray[np.generic]) -> str:
    tensor = numpy_helper.from_array(array, name)
    model.graph.initializer.append(tensor)
    if model.ir_version < 4:
        port = helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(port)
    return name
