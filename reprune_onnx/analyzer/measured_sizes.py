"""How often layers are used, seen in a run where no rule could tell: behind If, Loop, other ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx

from reprune_onnx.analyzer.drafts import LayerDraft
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.rules.recurrent import GATES
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.random_inputs import random_inputs

_OUTPUT = ("Conv", "FusedConv")  # their positions are those of what they make, others' of an input


def measured(
    graph: Graph, layers: Sequence[LayerDraft], shapes: Mapping[str, tuple[int, ...]]
) -> list[LayerDraft]:
    """The layers, with the positions of one run on random inputs of ``shapes`` where unknown.

    What ONNX Runtime cannot run stays unknown.
    """
    blind = [layer for layer in layers if not layer.positions and layer.op.type != "Einsum"]
    if not blind:
        return list(layers)
    extents = _extents(graph, {_tensor(layer.op) for layer in blind}, shapes)
    return [
        replace(layer, positions=_positions(layer, extents[_tensor(layer.op)]))
        if layer in blind and _tensor(layer.op) in extents
        else layer
        for layer in layers
    ]


def _tensor(op: Op) -> str:
    return op.outputs[0] if op.type in _OUTPUT else op.inputs[0]


def _positions(layer: LayerDraft, shape: tuple[int, ...]) -> int:
    if layer.op.type in GATES:
        return shape[1 if layer.op.attrs.get("layout", 0) else 0]
    matrix = layer.op.type not in (*_OUTPUT, "ConvTranspose")
    return prod(shape[1:-1] if matrix else shape[2:])


def _extents(
    graph: Graph, names: set[str], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in one run; none where there is no run.

    Nodes that measure it are added, so that no tensor leaves ONNX Runtime.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    taken = {o for op in graph.ops for o in op.outputs}
    extents = {}
    for k, name in enumerate(sorted(names)):
        made = f"extents_of_{k}"
        while made in taken:
            made += "_"
        extents[made] = name
        proto.graph.node.append(onnx.helper.make_node("Shape", [name], [made]))
        proto.graph.output.append(onnx.helper.make_tensor_value_info(made, 7, [None]))
    try:
        session = Session(proto, optimize=False, outputs=list(extents))
        feeds = random_inputs(session.inputs, shapes, np.random.default_rng(0))
        results = session.run(feeds)
    except (ModelError, MemoryError):
        return {}
    return {name: tuple(results[made].tolist()) for made, name in extents.items()}
