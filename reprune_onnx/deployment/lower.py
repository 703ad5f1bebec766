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

import onnx

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.deployment.adapters import ADAPTERS, copy_of, without
from reprune_onnx.deployment.constants import folded
from reprune_onnx.deployment.draft import Draft
from reprune_onnx.deployment.expansions import EXPANSIONS
from reprune_onnx.deployment.facts import facts_of
from reprune_onnx.deployment.lacking import lacking
from reprune_onnx.deployment.schemas import schema_of
from reprune_onnx.errors import ModelError
from reprune_onnx.limits import Limits
from reprune_onnx.model import copy_emptied
from reprune_onnx.precision import as_float32
from reprune_onnx.runtime.tail import is_lacking
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
    flat = written_out(Model(as_float32(model.proto), model.path, model.sha256, model.bytes))
    rewritten: Rewritten = []
    if limits.constants:
        flat, names = folded(flat)
        if names:
            rewritten.append({"node": "", "before": f"{len(names)} computed constants",
                              "after": "initializers"})  # fmt: skip
    graph = Graph(flat)
    now = graph.opsets.get("", 1)
    wanted = min(now, limits.opset or now)
    proto = copy_emptied(flat.proto, ())
    _replace_nodes(proto, graph, limits, wanted, device, rewritten)
    if wanted != now:
        rewritten.append({"node": "", "before": f"opset {now}", "after": f"opset {wanted}"})
    ir = min(proto.ir_version, limits.ir or proto.ir_version)
    if ir != proto.ir_version:
        before = f"IR version {proto.ir_version}"
        rewritten.append({"node": "", "before": before, "after": f"IR version {ir}"})
    _restate(proto, wanted, ir)
    return Lowered(Model(proto, model.path, model.sha256, model.bytes, model.files), rewritten)


def _replace_nodes(
    proto: onnx.ModelProto,
    graph: Graph,
    limits: Limits,
    opset: int,
    device: str,
    rewritten: Rewritten,
) -> None:
    facts = facts_of(graph)
    del proto.graph.node[:]
    for op in graph.ops:
        draft = Draft(op, facts, opset)
        reason = _rewrite(draft, limits, opset)
        if reason:
            raise ModelError(f"{op.title} cannot be made ready for {device}: {reason}")
        proto.graph.node.extend(draft.nodes)
        proto.graph.initializer.extend(draft.tensors)
        kinds = [n.op_type for n in draft.nodes]
        if kinds != [op.type] or _says_otherwise(op, draft.nodes[0]):
            after = ", ".join(kinds) if kinds != [op.type] else f"{op.type} of opset {opset}"
            rewritten.append({"node": op.name, "before": op.type, "after": after})


def _rewrite(draft: Draft, limits: Limits, opset: int) -> str | None:
    """Fill the draft; the reason, where it cannot be."""
    op = draft.op
    if op.domain or (_never_onnx(op) and op.type not in EXPANSIONS):
        return _of_others(draft, limits)
    reason = _missing(op, limits, opset) or lacking(op, limits, draft.facts)
    if reason is None:
        reason = _restated(draft, opset)
        if reason is None:
            return None
    if op.type not in EXPANSIONS:
        return reason
    draft.clear()
    return EXPANSIONS[op.type](draft)


def _of_others(draft: Draft, limits: Limits) -> str | None:
    """A plugin, or an op of another domain: it stays, where the device has it."""
    op = draft.op
    draft.nodes.append(copy_of(draft))
    if limits.opset is None or op.type in limits.plugins:
        return None
    if limits.runtime and not is_lacking(op.proto, draft.facts.graph.proto):
        return None
    domain = f"of the domain '{op.domain}'" if op.domain else "that ONNX does not have"
    return (
        f"it is an op {domain}, and not known to be there; export the model with ONNX's own ops,"
        " or name it under 'plugins' in a target file of your own, if the device has it"
    )


def _never_onnx(op: Op) -> bool:
    """Whether no opset of ONNX's has an op of this name."""
    return not onnx.defs.has(op.type)


def _missing(op: Op, limits: Limits, opset: int) -> str | None:
    """The reason why the device has no such op at all; None where it has one."""
    out = "and it cannot be written out in others; change the model there"
    if schema_of(op.type, opset) is None:
        return f"opset {opset} has no such op, {out}"
    return f"its parser has no such op, {out}" if op.type in limits.unsupported else None


def _restated(draft: Draft, opset: int) -> str | None:
    """Write the node as an older opset does; the reason, where that cannot say it."""
    op = draft.op
    old, new = schema_of(op.type, opset), schema_of(op.type, op.opset)
    if new is None or new.since_version == old.since_version:
        draft.nodes.append(_without_unread(copy_of(draft), draft, old))
        return _bodies(op, opset)
    node = ADAPTERS[op.type](draft) if op.type in ADAPTERS else copy_of(draft)
    if node is None:
        return f"what it says cannot be said in opset {opset}; change the model there"
    draft.nodes.append(_without_unread(node, draft, old))
    reason = _fits(node, (new, old)) if node.op_type == op.type else None
    return reason or _bodies(op, opset)


def _without_unread(node: onnx.NodeProto, draft: Draft, schema: Any) -> onnx.NodeProto:
    """The node without the last outputs that may be left out and that nothing reads."""
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    while node.op_type == draft.op.type and len(node.output) > 1:
        k = len(node.output) - 1
        formal = schema.outputs[min(k, len(schema.outputs) - 1)]
        if formal.option != optional or draft.facts.given(draft.op, k):
            break
        del node.output[k]
    return node


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
            new, old = schema_of(node.op_type, op.opset), schema_of(node.op_type, opset)
            if new is None or old is None or new.since_version != old.since_version:
                return (
                    f"its body has {node.op_type} '{node.name}', which is newer than opset {opset}"
                )
    return None


def _says_otherwise(op: Op, node: onnx.NodeProto) -> bool:
    same_ports = list(op.proto.input) == list(node.input)
    same_ports &= list(op.proto.output) == list(node.output)
    return not same_ports or len(op.proto.attribute) != len(node.attribute)


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
    kept = [v for v in proto.graph.value_info if v.name in made]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)
