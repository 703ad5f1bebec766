"""The element type of an activation, found by following one input of each node to its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnx

from reprune_onnx.analyzer.hoist import joined

if TYPE_CHECKING:
    from reprune_onnx.analyzer.graph import Op


_CODES: dict[str, int] = dict(onnx.TensorProto.DataType.items())


def element_type(name: str, types: dict[str, int | None], producer: Mapping[str, Op]) -> int | None:
    """The TensorProto type of tensor ``name``; None where the nodes before it do not tell.

    ``types`` are those of inputs and initializers; those that are found are added;
    ``producer`` is the node that makes a tensor.
    """
    way = []
    while name not in types:
        way.append(name)
        op = producer.get(name)
        source = None if op is None else _source(op, op.outputs.index(name))
        if not isinstance(source, str):
            types[name] = source
            break
        name = source
    types |= dict.fromkeys(way, types[name])
    return types[name]


def _source(op: Op, k: int) -> str | int | None:
    """The type of output ``k`` of a node, or the name of an input that has the same type."""
    if op.type == "Constant" and "value" in op.attrs:
        return int(op.attrs["value"].data_type)
    if op.type == "Cast":
        return int(op.attrs["to"])
    if made := joined(op.proto):
        return made[k][0]
    try:
        schema = onnx.defs.get_schema(op.type, op.opset, op.domain)
    except onnx.defs.SchemaError:
        return None
    formal = schema.outputs[min(k, len(schema.outputs) - 1)]
    if not formal.is_homogeneous:  # the bodies of Loop, If and Scan
        return None
    if len(formal.types) == 1:
        (text,) = formal.types
        kind = text.removeprefix("tensor(").removesuffix(")").upper()
        return _CODES.get(kind)
    for i, name in enumerate(op.inputs):
        if name and schema.inputs[min(i, len(schema.inputs) - 1)].type_str == formal.type_str:
            return name
    return None
