"""Types and shapes of tensors by ONNX's inference, which is a help and not a check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from reprune_onnx.safe_inference import infer_shapes, without_weights
from reprune_onnx.types import Shape


@dataclass(frozen=True)
class Inferred:
    """Element types and shapes by name, as far as they are known; an extent is None if symbolic."""

    types: Mapping[str, int]
    shapes: Mapping[str, Shape]


def inferred(proto: onnx.ModelProto) -> Inferred:
    """Return what is known of the tensors of the main graph."""
    light = without_weights(proto)
    stated = {o.domain for o in light.opset_import}
    for domain in sorted({node.domain for node in light.graph.node} - stated):
        light.opset_import.append(onnx.helper.make_opsetid(domain, 1))  # else nothing is inferred
    try:
        told = infer_shapes(light)
    except Exception:  # onnx's errors share no base class
        told = light
    types = {t.name: int(t.data_type) for t in light.graph.initializer}
    shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in light.graph.initializer}
    for value in (*told.graph.value_info, *told.graph.input, *told.graph.output):
        tensor_type = value.type.tensor_type
        if tensor_type.elem_type:
            types[value.name] = int(tensor_type.elem_type)
        if tensor_type.HasField("shape"):
            shapes[value.name] = tuple(
                d.dim_value if d.HasField("dim_value") else None for d in tensor_type.shape.dim
            )
    return Inferred(types, shapes)


def stated_alone(proto: onnx.ModelProto, given: Mapping[str, tuple[int, ...]]) -> dict[str, Shape]:
    """The shapes that follow from those of inputs, which the file states or which are ``given``.

    What a file states of other tensors may be the sizes of one run.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for value in copy.graph.input:
        shape = value.type.tensor_type.shape
        for dim, extent in zip(shape.dim, given.get(value.name, ()), strict=False):
            dim.dim_value = extent
    del copy.graph.value_info[:]
    return dict(inferred(copy).shapes)
