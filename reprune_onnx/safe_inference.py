"""ONNX's shape inference, kept from what ends the process.

A window larger than what it reads makes a negative extent there, and a Slice of one fails an
assertion of C++ in onnx and in ONNX Runtime, which no Python code can catch. So a Slice is hidden
from inference until what it reads is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx

from reprune_onnx.bodies import with_bodies
from reprune_onnx.errors import ModelError
from reprune_onnx.model import copy_emptied
from reprune_onnx.sizes.need import times, title
from reprune_onnx.sizes.needs import constants_of, integers

EXPORT_LARGER = "export the model with larger ones"
_HIDDEN = "hidden"  # a domain of which inference knows nothing
_WINDOWS = {"AveragePool", "Conv", "ConvInteger", "DeformConv", "LpPool", "MaxPool", "QLinearConv"}


def infer_shapes(
    proto: onnx.ModelProto, *, strict_mode: bool = False, data_prop: bool = False
) -> onnx.ModelProto:
    """Return ``proto`` with what `onnx.shape_inference` knows of it, without checking types.

    Negative extents that are stated are open ones, as they are to ONNX Runtime. Where one is made,
    what follows from it is not known. Raises what onnx raises.
    """
    if not at_risk(proto):
        return onnx.shape_inference.infer_shapes(
            proto, strict_mode=strict_mode, data_prop=data_prop
        )
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    _leave_open(copy)
    copy.opset_import.append(onnx.helper.make_opsetid(_HIDDEN, 1))
    slices = list(_slices(copy))
    for node in slices:
        node.domain = _HIDDEN
    waiting = [node for node in copy.graph.node if node.domain == _HIDDEN]
    while True:
        told = onnx.shape_inference.infer_shapes(copy, strict_mode=strict_mode, data_prop=data_prop)
        ready = [] if _negative(told) else _known(told, waiting)
        if not ready:
            return _shown(told)
        for node in ready:
            node.domain = ""
        waiting = [node for node in waiting if node.domain]


def without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for inference: initializers of several axes have their types and shapes alone."""
    light = copy_emptied(proto, {t.name for t in proto.graph.initializer if len(t.dims) > 1})
    for tensor, full in zip(light.graph.initializer, proto.graph.initializer, strict=True):
        tensor.data_type = full.data_type
        del tensor.dims[:]
        tensor.dims.extend(full.dims)
    return light


def refuse_negative_extents(proto: onnx.ModelProto, advice: str = EXPORT_LARGER) -> None:
    """Raise ModelError, with ``advice``, where onnx or ONNX Runtime would end the process.

    The model's inputs have sizes that are too small for what stands behind them.
    """
    if not at_risk(proto):
        return
    try:
        value = _negative(infer_shapes(without_weights(proto)))
    except Exception:  # onnx's C++ throws several kinds; where shapes are used its words are told
        return
    if value is None:
        return
    maker = next((n for n in proto.graph.node if value.name in n.output), None)
    said = f"'{value.name}'" if maker is None else f"what {title(maker)} makes"
    raise ModelError(
        f"{said} has the extents {times(_extents(value))}: the inputs are too small for it;"
        f" {advice}"
    )


def at_risk(proto: onnx.ModelProto) -> bool:
    """Whether there are Slices, and anything by which an extent may be negative."""
    if next(_slices(proto), None) is None:
        return False
    stated = (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)
    if any(n < 0 for value in stated for n in _extents(value)):
        return True
    extents = {name: list(t.dims) for name, t in constants_of(proto.graph).items()}
    below = {name for name, numbers in integers(proto.graph).items() if min(numbers, default=0) < 0}
    return any(
        _shrinks(node, extents) if node.op_type in _WINDOWS else _crops(node, below)
        for node in _nodes(proto)
    )


def _shrinks(node: onnx.NodeProto, extents: Mapping[str, list[int]]) -> bool:
    """Whether what a window makes of the smallest image could have a negative extent."""
    lists = {a.name: list(a.ints) for a in node.attribute}
    weight = extents.get(node.input[1], []) if len(node.input) > 1 else []
    window = lists.get("kernel_shape") or weight[2:]
    ones, pads = [1] * len(window), lists.get("pads") or [0] * 2 * len(window)
    if len(pads) != 2 * len(window):
        return True
    steps = zip(lists.get("strides") or ones, lists.get("dilations") or ones, strict=False)
    return not window or any(
        (n - 1) * dilation + 1 - pads[k] - pads[k + len(window)] >= 2 * stride
        for k, (n, (stride, dilation)) in enumerate(zip(window, steps, strict=False))
    )


def _crops(node: onnx.NodeProto, below: Collection[str]) -> bool:
    """Whether a Pad takes something away."""
    stated = any(n < 0 for a in node.attribute if a.name == "pads" for n in a.ints)
    return node.op_type == "Pad" and (stated or any(name in below for name in node.input[1:2]))


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from with_bodies(proto.graph.node)
    for function in proto.functions:
        yield from with_bodies(function.node)


def _slices(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (node for node in _nodes(proto) if node.op_type == "Slice" and not node.domain)


def _extents(value: onnx.ValueInfoProto) -> list[int]:
    """The extents that are known; a symbol's is left out."""
    return [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]


def _leave_open(proto: onnx.ModelProto) -> None:
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.ClearField("dim_value")


def _negative(told: onnx.ModelProto) -> onnx.ValueInfoProto | None:
    """The first tensor with a negative extent."""
    values = (*told.graph.input, *told.graph.value_info, *told.graph.output)
    return next((v for v in values if min(_extents(v), default=0) < 0), None)


def _known(told: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes that read what is known; all of them where none does."""
    values = (*told.graph.input, *told.graph.value_info, *told.graph.output)
    shaped = {v.name for v in values if v.type.tensor_type.HasField("shape")}
    shaped |= constants_of(told.graph).keys()
    return [node for node in nodes if node.input and node.input[0] in shaped] or list(nodes)


def _shown(told: onnx.ModelProto) -> onnx.ModelProto:
    """``told`` with the Slices that were hidden."""
    for node in _nodes(told):
        node.domain = "" if node.domain == _HIDDEN else node.domain
    del told.opset_import[-1]
    return told
