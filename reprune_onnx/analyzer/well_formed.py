"""Checks of a file: versions that exist, tensors as long as they say, nodes that fit their op.

ONNX's own checker asks for more, and rejects files that run everywhere. This asks for what rules
rely on, and for what ONNX Runtime wants too.
"""

from __future__ import annotations

import math
from typing import Any

import onnx

from reprune_onnx.errors import ModelError
from reprune_onnx.tensor_bytes import BITS

_VERSIONS = 2**31
_COUNTED = {"", *(domain for domain, _ in onnx.helper.OP_SET_ID_VERSION_MAP)}  # others' may be 0
_LISTS = ("float", "double", "int32", "int64", "uint64", "string")
_PER_ENTRY = 4  # values of two bits in an entry of a list
_REQUIRED = onnx.defs.OpSchema.FormalParameterOption.Single


def check_file(proto: onnx.ModelProto) -> None:
    """Raise ModelError for versions that no ONNX has, and tensors of another size than stated."""
    versions = [("IR version", proto.ir_version, 1)]
    versions += [
        (f"opset of domain '{o.domain}'", o.version, int(o.domain in _COUNTED))
        for o in proto.opset_import
    ]
    for what, version, least in versions:
        if not least <= version < _VERSIONS:
            raise ModelError(f"the file states {what} {version}, which does not exist")
    declared = {i.name: i.type.tensor_type.shape for i in proto.graph.input}
    names: set[str] = set()
    for tensor in proto.graph.initializer:
        if tensor.name in names:
            raise ModelError(
                f"there are two tensors '{tensor.name}': the file is damaged; check it with"
                " onnx.checker"
            )
        names.add(tensor.name)
        _check_length(tensor)
        if tensor.name in declared:
            _check_declared(tensor, declared[tensor.name])


def _check_declared(tensor: onnx.TensorProto, shape: onnx.TensorShapeProto) -> None:
    """A weight that is also an input, as files before IR 4 have them, states its shape twice."""
    stated = [d.dim_value if d.HasField("dim_value") else None for d in shape.dim]
    pairs = zip(stated, tensor.dims, strict=False)
    if stated and (len(stated) != len(tensor.dims) or any(a not in (None, b) for a, b in pairs)):
        raise ModelError(
            f"tensor '{tensor.name}' of shape {list(tensor.dims)} is declared as an input of shape"
            f" {stated}: the file is damaged; check it with onnx.checker"
        )


def _check_length(tensor: onnx.TensorProto) -> None:
    """A few bytes can declare 2⁴⁰ numbers: they are counted before anything is made of them."""
    n = math.prod(tensor.dims)
    bits = BITS.get(tensor.data_type)
    typed = sum(len(getattr(tensor, f"{kind}_data")) for kind in _LISTS)
    if tensor.HasField("raw_data") and bits is not None:
        held = len(tensor.raw_data) * 8 // bits
        fits = len(tensor.raw_data) == -(-n * bits // 8)
    else:
        held = typed
        fits = n <= typed * _PER_ENTRY
    if not fits or min(tensor.dims, default=1) < 0:
        raise ModelError(
            f"tensor '{tensor.name}' of shape {list(tensor.dims)} should hold {n:,} values, and"
            f" holds {held:,}: the file is truncated or damaged"
        )


def attributes_of(node: onnx.NodeProto, name: str, domain: str, opset: int) -> dict[str, Any]:
    """The values of a node's attributes, by name.

    Raises ModelError where an op of ONNX has too few or too many inputs or outputs, or an attribute
    is missing, of another type, or belongs into the body of a function. Nothing is known of other
    ops.
    """
    title = f"{node.op_type} '{name}'"
    schema = _schema(node.op_type, domain, opset)
    if schema is not None:
        _check_places(node, title, schema)
        _check_attributes(node, title, schema)
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            raise ModelError(
                f"attribute '{attribute.name}' of {title} takes the value of"
                f" '{attribute.ref_attr_name}' of a function, and the node stands in none: the file"
                " is damaged; check it with onnx.checker"
            )
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _schema(op_type: str, domain: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None


def _check_places(node: onnx.NodeProto, title: str, schema: onnx.defs.OpSchema) -> None:
    for what, n, least, most in (
        ("inputs", len(node.input), schema.min_input, schema.max_input),
        ("outputs", len(node.output), schema.min_output, schema.max_output),
    ):
        if not least <= n <= most:
            bound = f"at least {least}" if n < least else f"at most {most}"
            raise ModelError(
                f"{title} has {n} {what}, and {bound} are allowed: the file is damaged; check it"
                " with onnx.checker"
            )
    for formal, given in zip(schema.inputs, node.input, strict=False):
        if formal.option == _REQUIRED and not given:
            raise ModelError(f"{title} lacks its input {formal.name}: the file is damaged")
    if not any(node.output):
        raise ModelError(f"{title} has no output with a name: the file is damaged")


def _check_attributes(node: onnx.NodeProto, title: str, schema: onnx.defs.OpSchema) -> None:
    given = {a.name for a in node.attribute}
    for name, entry in schema.attributes.items():
        if entry.required and name not in given:
            raise ModelError(f"{title} lacks its attribute '{name}': the file is damaged")
    types = {name: str(entry.type).rpartition(".")[2] for name, entry in schema.attributes.items()}
    for attribute in node.attribute:
        stated = onnx.AttributeProto.AttributeType.Name(attribute.type)
        if stated not in ("UNDEFINED", types.get(attribute.name, stated)):
            raise ModelError(
                f"attribute '{attribute.name}' of {title} is {stated}, and not"
                f" {types[attribute.name]}: the file is damaged; check it with onnx.checker"
            )
