"""Conv–BatchNormalization pairs: whose γ scales a layer's output channels."""

from __future__ import annotations

from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import SAME_NUMBERS


def gamma_of(graph: Graph, layer: Op) -> str | None:
    """The scale γ of the BatchNormalization that reads the layer's output, and it alone.

    Identity, Cast and Dropout may stand between. None where the exporter folded the normalisation
    into the layer, where something else reads the layer's output too, or γ is not a constant.
    """
    name = layer.result
    while True:
        readers = graph.readers(name)
        if len(readers) != 1 or name in graph.outputs:
            return None
        (reader,) = readers
        if reader.type == "BatchNormalization" and reader.inputs[0] == name:
            return reader.inputs[1] if graph.is_constant(reader.inputs[1]) else None
        if reader.type not in SAME_NUMBERS or reader.domain:
            return None
        name = reader.outputs[0]
