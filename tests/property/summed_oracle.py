"""The judge where two activations are summed over channels: no weight is there to be masked.

Which channels went is seen without labels: those that change where the rows change that were cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from statistics_oracle import is_statistic, look_over_kept, statistic_axis

Fetch = Callable[[onnx.ModelProto, set[str]], dict[str, NDArray[np.float32]]]


def mask_sums(
    masked: onnx.ModelProto, changed: onnx.ModelProto, pruned: onnx.ModelProto, fetch: Fetch
) -> None:
    """Let products of two activations read zeros where channels went, in the first two models.

    ``changed`` is ``masked`` with other values in all that was cut away; ``fetch`` runs a model and
    returns tensors of it. A channel that is zero whatever was cut away needs no mask.
    """
    made = {name for node in masked.graph.node for name in node.output}
    order = _in_order(masked.graph.node)
    left = {name for node in pruned.graph.node for name in node.output}
    products = {
        k: axis
        for k in order
        if (axis := summed_axis(node := masked.graph.node[k])) is not None
        and (made & left).issuperset(node.input[:2])
    }
    looks = {
        k: masked.graph.node[k]
        for k in order
        if is_statistic(node := masked.graph.node[k])
        and {node.input[0], node.output[0]} <= made & left  # not what is computed of constants
    }
    read = {masked.graph.node[k].input[0] for k in products}
    read |= {name for node in looks.values() for name in (node.input[0], node.output[0])}
    if not read:
        return
    before, after = fetch(masked, read), fetch(pruned, read)
    for k in order:
        axis = products.get(k)
        if k in looks:
            axis = statistic_axis(looks[k], before, after)
        name = masked.graph.node[k].input[0] if masked.graph.node[k].input else ""
        if axis is None or before[name].shape[axis] == after[name].shape[axis]:
            continue
        if k in products and _each_alone(masked.graph.node[k], before[name].shape[axis]):
            continue  # zeros would hide from what follows which channels went
        one, other = (np.moveaxis(fetch(m, {name})[name], axis, 0) for m in (masked, changed))
        gone = (one != other).reshape(len(one), -1).any(axis=1)
        if k in looks:
            parameters = _parameters(looks[k], pruned)
            for model in (masked, changed):
                look_over_kept(model, model.graph.node[k], (gone, axis), parameters)
            continue
        shape = [1] * before[name].ndim
        shape[axis] = -1
        mask = np.where(gone, 0, 1).astype(one.dtype).reshape(shape)
        for model in (masked, changed):
            _multiply(model, model.graph.node[k], mask)


def _parameters(node: onnx.NodeProto, pruned: onnx.ModelProto) -> dict[int, NDArray[np.float32]]:
    """The constants of fractions that the node of this result reads in the pruned file."""
    twin = next(n for n in pruned.graph.node if node.output[0] in n.output)
    held = {t.name: numpy_helper.to_array(t) for t in pruned.graph.initializer}
    held |= {
        n.output[0]: numpy_helper.to_array(n.attribute[0].t)
        for n in pruned.graph.node
        if n.op_type == "Constant" and n.attribute[0].HasField("t")
    }
    read = {i: held[name] for i, name in enumerate(twin.input) if name in held}
    return {i: array for i, array in read.items() if array.dtype.kind == "f"}


def _in_order(nodes: Sequence[onnx.NodeProto]) -> list[int]:
    """Places of nodes, each behind what it reads: what a product reads was masked before."""
    makers = {name: k for k, node in enumerate(nodes) for name in node.output}
    order: dict[int, None] = {}
    waiting = list(range(len(nodes)))[::-1]
    while waiting:
        k = waiting[-1]
        before = [makers[name] for name in nodes[k].input if name in makers]
        left = [j for j in before if j not in order]
        if left:
            waiting.extend(left)
        else:
            order.setdefault(waiting.pop())
    return list(order)


def summed_axis(node: onnx.NodeProto) -> int | None:
    """The axis of its first input that a product sums over; None for any other node."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type in ("MatMul", "FusedMatMul", "Gemm"):
        return -2 if attributes.get("transA", 0) else -1
    if node.op_type in ("Conv", "ConvTranspose"):
        return 1
    if node.op_type == "Einsum" and len(node.input) == 2:
        terms, _, out = attributes["equation"].decode().replace(" ", "").partition("->")
        left, right = terms.split(",")
        summed = [axis for axis, x in enumerate(left) if x in right and x not in out]
        return summed[0] if len(summed) == 1 else None
    return None


def _each_alone(node: onnx.NodeProto, channels: int) -> bool:
    """Whether a convolution takes each channel of an activation alone, so that none are summed."""
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    return node.op_type in ("Conv", "ConvTranspose") and groups == channels


def _multiply(model: onnx.ModelProto, node: onnx.NodeProto, mask: NDArray[np.float32]) -> None:
    """Let the node's first input be what it reads times a constant."""
    read, made = node.input[0], f"{node.output[0]}_read"
    tensor = numpy_helper.from_array(mask, f"{node.output[0]}_mask")
    model.graph.initializer.append(tensor)
    if model.ir_version < 4:
        port = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(port)
    node.input[0] = made
    model.graph.node.append(helper.make_node("Mul", [read, tensor.name], [made]))
