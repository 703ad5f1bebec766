"""Where a shift of a layer's outputs goes: its bias, its BatchNormalization, or an Add after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reprune_onnx.activations.joint import per_channel
from reprune_onnx.activations.linear import Linear
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.types import Floats


@dataclass(frozen=True)
class Intercept:
    """A constant of the layer alone; adding ``sign·b`` to it adds b (n_out,) to the outputs."""

    tensor: str
    sign: float

    def shifted(self, graph: Graph, b: Floats) -> Floats:
        """The constant with the layer's outputs shifted by b."""
        old = graph.array(self.tensor).astype(np.float64)
        return old + self.sign * b.reshape(old.shape)


def intercept_of(graph: Graph, layer: Linear) -> Intercept | None:
    """The intercept of a layer; None where there is none that belongs to it alone."""
    op = layer.op
    if layer.recurrent:
        return None
    if layer.adds:
        beta = float(op.attrs.get("beta", 1.0))
        fits = (
            is_sole_constant(graph, op.inputs[2]) and graph.array(op.inputs[2]).size == layer.n_out
        )
        return Intercept(op.inputs[2], 1.0 / beta) if fits and beta else None
    name = op.outputs[0]
    readers = graph.readers(name)
    if len(readers) != 1 or name in graph.outputs:
        return None
    (reader,) = readers
    if reader.type == "BatchNormalization" and op.type != "MatMul" and reader.inputs[0] == name:
        return (
            Intercept(reader.inputs[3], -1.0) if is_sole_constant(graph, reader.inputs[3]) else None
        )
    if reader.type == "Add" and len(reader.inputs) == 2:
        constant = reader.inputs[1 if reader.inputs[0] == name else 0]
        if is_sole_constant(graph, constant) and graph.array(constant).size == layer.n_out:
            value = per_channel(graph.array(constant), layer.n_out, layer.trailing)
            return None if value is None else Intercept(constant, 1.0)
    return None


def is_sole_constant(graph: Graph, name: str) -> bool:
    """Whether a tensor is stored in the file, as a tensor, and read once."""
    if not graph.is_constant(name) or len(graph.readers(name)) != 1 or name in graph.outputs:
        return False
    producer = graph.producer(name)
    return producer is None or (producer.type == "Constant" and "value" in producer.attrs)
