"""Conditions under which a device lacks an op: rows of its table, tested on a node."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import onnx

from reprune_onnx.analyzer.graph import Op, captured
from reprune_onnx.deployment.facts import Facts
from reprune_onnx.deployment.schemas import schema_of
from reprune_onnx.limits import Lack, Limits, Values


def lacking(op: Op, limits: Limits, facts: Facts) -> str | None:
    """Return what the device lacks of a node, in its table's words; None where it has it all."""
    for row in limits.rows:
        if _about(row, op) and all(_holds(row, name, op, facts) for name in _CONDITIONS):
            return _told(row, op)
    return None


def _about(row: Lack, op: Op) -> bool:
    return op.type in row.ops or (not row.ops and op.type not in row.but)


def _holds(row: Lack, condition: str, op: Op, facts: Facts) -> bool:
    asked = getattr(row, condition)
    return not asked or _CONDITIONS[condition](asked, op, facts)


def _computed(inputs: tuple[int, ...], op: Op, facts: Facts) -> bool:
    return any(facts.computed(op, i) for i in inputs)


def _given(outputs: tuple[int, ...], op: Op, facts: Facts) -> bool:
    return any(facts.given(op, i) for i in outputs)


def _reads(types: tuple[str, ...], op: Op, facts: Facts) -> bool:
    return _typed(_activations(op, facts), types, facts)


def _makes(types: tuple[str, ...], op: Op, facts: Facts) -> bool:
    return _typed(op.outputs, types, facts)


def _touches(types: tuple[str, ...], op: Op, facts: Facts) -> bool:
    return _reads(types, op, facts) or _makes(types, op, facts)


def _inside(types: tuple[str, ...], op: Op, facts: Facts) -> bool:
    ends = {*facts.graph.outputs, *(i.name for i in facts.graph.inputs)}
    return _typed({*_activations(op, facts), *op.outputs} - ends, types, facts)


def _where(values: Values, op: Op, facts: Facts) -> bool:
    del facts
    return all(_has(op, name) and _value(op, name) in among for name, among in values.items())


def _unless(values: Values, op: Op, facts: Facts) -> bool:
    del facts
    return any(_has(op, name) and _value(op, name) not in among for name, among in values.items())


_CONDITIONS: dict[str, Callable[[Any, Op, Facts], bool]] = {
    "computed": _computed,
    "given": _given,
    "reads": _reads,
    "makes": _makes,
    "touches": _touches,
    "inside": _inside,
    "where": _where,
    "unless": _unless,
}


def _activations(op: Op, facts: Facts) -> list[str]:
    read = (*op.inputs, *sorted(captured(op)))
    return [name for name in read if name and not facts.graph.is_constant(name)]


def _typed(names: Iterable[str], types: tuple[str, ...], facts: Facts) -> bool:
    wanted = {onnx.TensorProto.DataType.Value(kind.upper()) for kind in types}
    return any(facts.types.get(name) in wanted for name in names)


def _has(op: Op, attribute: str) -> bool:
    schema = schema_of(op.type, op.opset)
    return attribute in op.attrs or (schema is not None and attribute in schema.attributes)


def _value(op: Op, attribute: str) -> Any:
    """An attribute as a table writes it, by default the schema's."""
    value = op.attrs.get(attribute)
    if value is None:
        default = schema_of(op.type, op.opset).attributes[attribute].default_value
        value = onnx.helper.get_attribute_value(default) if default.name else None
    return value.decode() if isinstance(value, bytes) else value


def _told(row: Lack, op: Op) -> str:
    text = row.says
    for name in (*row.where, *row.unless):
        text = text.replace(f"{{{name}}}", str(_value(op, name)))
    return text
