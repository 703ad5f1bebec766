"""Values of single inputs that choose what a graph computes."""

from __future__ import annotations

import numpy as np
import onnx

from reprune_onnx.analyzer.graph import to_array
from reprune_onnx.analyzer.op_kinds import COMPARISONS, SAME_ELEMENTS
from reprune_onnx.bodies import bodies
from reprune_onnx.order import outer_tensors


def branch_values(proto: onnx.ModelProto) -> dict[str, list[float]]:
    """The values to give, in turns, to inputs of one element that branches are chosen by.

    True and False, or the numbers that the graph compares the input with and one more than the
    largest of them: drawn at random, a sample rate would hardly ever be one that the graph knows.
    """
    constants = _constants(proto.graph)
    values: dict[str, list[float]] = {}
    for value in proto.graph.input:
        tensor = value.type.tensor_type
        single = all(d.dim_value == 1 for d in tensor.shape.dim)
        if value.name in constants or not tensor.HasField("shape") or not single:
            continue
        if tensor.elem_type == onnx.TensorProto.BOOL:
            values[value.name] = [True, False]
            continue
        compared = _compared(proto.graph, {value.name}, constants)
        if compared:
            values[value.name] = [*sorted(compared), max(compared) + 1]
    return values


def _compared(
    graph: onnx.GraphProto, names: set[str], constants: dict[str, np.ndarray]
) -> set[float]:
    """The numbers that a tensor, known by ``names``, is compared with, in bodies too."""
    names, values = set(names), set[float]()
    for node in graph.node:
        read = names.intersection(node.input)
        if read and node.op_type in SAME_ELEMENTS and node.input[0] in names:
            names.update(node.output)
        if read and node.op_type in COMPARISONS:
            others = [constants[i] for i in node.input if i in constants]
            values.update(float(a.ravel()[0]) for a in others if a.size == 1)
        for body in bodies(node):
            if names & outer_tensors(body):
                values |= _compared(body, names, constants | _constants(body))
    return values


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """The small constants of a graph, by name."""
    constants = {t.name: to_array(t) for t in graph.initializer if np.prod(t.dims) <= 1}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                if np.prod(attribute.t.dims) <= 1:
                    constants[node.output[0]] = to_array(attribute.t)
            elif node.op_type == "Constant" and attribute.name in ("value_int", "value_float"):
                constants[node.output[0]] = np.array(onnx.helper.get_attribute_value(attribute))
    return constants
