"""A model no newer than a device can read: opset, IR version, and ops that it has.

onnx's own version converter has no way down for Relu, Shape, Pad or HardSwish, so this one goes by
the schemas: a node whose op did not change between the two opsets stays as it is; one that did
change stays too where all it says can be said in the older version, its new attributes being at
their defaults. What is said otherwise has a line in `ADAPTERS`, what has to be written out in other
ops one in `EXPANSIONS`, and everything else is refused by name. Whoever converts compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.deployment.adapters import ADAPTERS, copy_of, without
from reprune_onnx.deployment.constants import folded
from reprune_onnx.deployment.expansions import EXPANSIONS, Draft
from reprune_onnx.errors import ModelError
from reprune_onnx.model import copy_emptied
from reprune_onnx.precision import as_float32
from reprune_onnx.targets import Limits
from reprune_onnx.types import Model

Rewritten = list[dict[str, object]]

_SPATIAL = ("", "ai.onnx")


@dataclass(frozen=True)
class Lowered:
    """A model within limits, and what changed: ``rewritten`` is as the report of `prune` has it."""

    model: Model
    rewritten: Rewritten


def lower(model: Model, limits: Limits, device: str) -> Lowered:
    """Return ``model`` within the ``limits`` of ``device``; ModelError, naming the node, if not.

    Names of tensors, inputs and outputs survive, and every node has a name of its own. A double or
    bfloat16 model becomes a float32 one.
    """
    plain = written_out(Model(as_float32(model.proto), model.path, model.sha256, model.bytes))
    rewritten: Rewritten = []
    if limits.constants:
        plain, names = folded(plain)
        if names:
            rewritten.append({"node": "", "before": f"{len(names)} computed constants",
                              "after": "initializers"})  # fmt: skip
    graph = Graph(plain)
    now = graph.opsets.get("", 1)
    wanted = min(now, limits.opset or now)
    proto = copy_emptied(plain.proto, ())
    _replace_nodes(proto, graph, (limits, wanted, device), rewritten)
    if wanted != now:
        rewritten.append({"node": "", "before": f"opset {now}", "after": f"opset {wanted}"})
    ir = min(proto.ir_version, limits.ir or proto.ir_version)
    if ir != proto.ir_version:
        before = f"IR version {proto.ir_version}"
        rewritten.append({"node": "", "before": before, "after": f"IR version {ir}"})
    _restate(proto, wanted, ir)
    return Lowered(Model(proto, model.path, model.sha256, model.bytes, model.files), rewritten)


def _replace_nodes(
    proto: onnx.ModelProto, graph: Graph, to: tuple[Limits, int, str], rewritten: Rewritten
) -> None:
    limits, opset, device = to
    ranks, dtype = _ranks(graph.proto), _float_type(graph)
    del proto.graph.node[:]
    for op in graph.ops:
        draft = Draft(op, dtype)
        rank = ranks.get(op.inputs[0]) if op.inputs else None
        reason = _rewrite(draft, graph, (limits, opset), rank)
        if reason:
            raise ModelError(f"{op.title} cannot be made ready for {device}: {reason}")
        proto.graph.node.extend(draft.nodes)
        proto.graph.initializer.extend(draft.tensors)
        kinds = [n.op_type for n in draft.nodes]
        if kinds != [op.type] or _says_otherwise(op, draft.nodes[0]):
            after = ", ".join(kinds) if kinds != [op.type] else f"{op.type} of opset {opset}"
            rewritten.append({"node": op.name, "before": op.type, "after": after})


def _rewrite(draft: Draft, graph: Graph, to: tuple[Limits, int], rank: int | None) -> str | None:
    """Fill the draft; the reason, where it cannot be."""
    limits, opset = to
    op = draft.op
    if op.domain:
        draft.nodes.append(copy_of(draft))
        own = f"it is an op of the domain '{op.domain}'; export the model with ONNX's own ops"
        return None if limits.opset is None else own
    if reason := _not_there(op, limits):
        return reason
    old = _schema(op.type, opset)
    if old is not None and op.type not in limits.unsupported:
        return _restated(draft, graph, opset, rank)
    if op.type in EXPANSIONS:
        EXPANSIONS[op.type](draft)
        return None
    known = f"opset {opset} has no such op" if old is None else "its parser has no such op"
    return f"{known}, and it cannot be written out in others; change the model there"


def _restated(draft: Draft, graph: Graph, opset: int, rank: int | None) -> str | None:
    """Write the node as an older opset does; the reason, where that cannot say it."""
    op = draft.op
    old, new = _schema(op.type, opset), _schema(op.type, op.opset)
    if new is None or new.since_version == old.since_version:
        draft.nodes.append(copy_of(draft))
        return _bodies(op, opset)
    node = ADAPTERS[op.type](draft, graph, rank) if op.type in ADAPTERS else copy_of(draft)
    if node is None:
        return f"what it says cannot be said in opset {opset}; change the model there"
    draft.nodes.append(node)
    reason = _fits(node, (new, old)) if node.op_type == op.type else None
    return reason or _bodies(op, opset)


def _not_there(op: Op, limits: Limits) -> str | None:
    """What a device lacks of an op that it has."""
    if op.type not in ("Resize", "Upsample") or limits.resize_modes is None:
        return None
    mode = op.attrs.get("mode", b"nearest").decode()
    if mode not in limits.resize_modes:
        return f"its mode '{mode}' is not there; use {' or '.join(limits.resize_modes)}"
    way = op.attrs.get("coordinate_transformation_mode", b"half_pixel").decode()
    if way in ("tf_crop_and_resize", "half_pixel_symmetric"):
        return f"its coordinate transformation '{way}' is not there; use half_pixel"
    return None


def _fits(node: onnx.NodeProto, schemas: tuple[Any, Any]) -> str | None:
    """Drop attributes that the older schema lacks, where they say nothing; the reason if not."""
    new, old = schemas
    for attribute in list(node.attribute):
        if attribute.name in old.attributes:
            continue
        default = new.attributes[attribute.name].default_value
        value = onnx.helper.get_attribute_value(attribute)
        if not default.name or onnx.helper.get_attribute_value(default) != value:
            text = value.decode() if isinstance(value, bytes) else value
            return f"{attribute.name} = {text} cannot be said in opset {old.since_version}"
        without(node, attribute.name)
    while node.input and not node.input[-1]:
        del node.input[-1]
    if len(node.input) > old.max_input:
        return f"it has {len(node.input)} inputs, and {old.max_input} at most before"
    return None


def _bodies(op: Op, opset: int) -> str | None:
    """The bodies of If, Loop and Scan are left as they are: nothing in them may need a change."""
    for graph in (v for v in op.attrs.values() if isinstance(v, onnx.GraphProto)):
        for node in graph.node:
            new, old = _schema(node.op_type, op.opset), _schema(node.op_type, opset)
            if new is None or old is None or new.since_version != old.since_version:
                return (
                    f"its body has {node.op_type} '{node.name}', which is newer than opset {opset}"
                )
    return None


def _says_otherwise(op: Op, node: onnx.NodeProto) -> bool:
    same_inputs = list(op.proto.input) == list(node.input)
    return not same_inputs or len(op.proto.attribute) != len(node.attribute)


def _schema(kind: str, opset: int) -> Any:
    try:
        schema = onnx.defs.get_schema(kind, opset)
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema


def _ranks(proto: onnx.ModelProto) -> dict[str, int]:
    """The ranks of tensors, as far as they can be inferred."""
    light = copy_emptied(proto, {t.name for t in proto.graph.initializer if len(t.dims) > 1})
    for tensor, full in zip(light.graph.initializer, proto.graph.initializer, strict=True):
        tensor.data_type = full.data_type
        del tensor.dims[:]
        tensor.dims.extend(full.dims)
    try:
        inferred = onnx.shape_inference.infer_shapes(light)
    except Exception:  # inference is a help, not a check; onnx's errors share no base class
        inferred = light
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    return {
        v.name: len(v.type.tensor_type.shape.dim)
        for v in values
        if v.type.tensor_type.HasField("shape")
    }


def _float_type(graph: Graph) -> np.dtype[Any]:
    """float16 in a file whose weights are, else float32."""
    types = {t.data_type for t in graph.proto.graph.initializer}
    half = onnx.TensorProto.FLOAT16 in types and onnx.TensorProto.FLOAT not in types
    return np.dtype(np.float16 if half else np.float32)


def _restate(proto: onnx.ModelProto, opset: int, ir: int) -> None:
    """Write the versions down, and leave out what older readers do not know."""
    proto.ir_version = ir
    used = {node.domain for node in proto.graph.node} - set(_SPATIAL)
    others = [o for o in proto.opset_import if o.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend([onnx.helper.make_opsetid("", opset), *others])
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        del part.metadata_props[:]
    made = {o for node in proto.graph.node for o in node.output}
    known = [v for v in proto.graph.value_info if v.name in made]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(known)
