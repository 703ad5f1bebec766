"""Random values for a graph: training from the beginning."""

from __future__ import annotations

import math

import numpy as np
import onnx

from reprune_onnx.analyzer.functions import written_out
from reprune_onnx.analyzer.graph import Graph, Op
from reprune_onnx.analyzer.op_kinds import CONVOLUTIONS
from reprune_onnx.errors import ModelError
from reprune_onnx.model import size
from reprune_onnx.training.bridge.roots import is_root
from reprune_onnx.training.bridge.scope import scope_of
from reprune_onnx.training.bridge.write import held_tensors, put
from reprune_onnx.types import Model

_CONSTANT = {
    "BatchNormalization": {1: 1.0, 2: 0.0, 3: 0.0, 4: 1.0},
    "InstanceNormalization": {1: 1.0, 2: 0.0},
    "GroupNormalization": {1: 1.0, 2: 0.0},
    "LayerNormalization": {1: 1.0, 2: 0.0},
    "PRelu": {1: 0.25},
    "Conv": {2: 0.0},
    "ConvTranspose": {2: 0.0},
    "Gemm": {2: 0.0},
}
_WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}


def random_weights(model: Model, rng: np.random.Generator) -> Model:
    """``model`` with values as networks start with.

    Weights of convolutions are normal with variance 2 / fan-out (He et al. 2015), those of matrices
    uniform within ±1/√fan-in; scales are 1, biases 0, running statistics 0 and 1. Raises ModelError
    where a layer's weight is computed from constants: there is no telling how they start.
    """
    model = written_out(model)
    graph = Graph(model)
    within = [
        name for scope in scope_of(graph).all() if scope.prefix for name in scope.roots.trained
    ]
    if within:
        raise ModelError(
            f"{len(within)} weights, as '{min(within)}', are of layers in bodies of If, which"
            " cannot start from random values; train from the file's"
        )
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    held = held_tensors(proto)
    for op in graph.ops:
        if op.outputs and op.outputs[0] in graph.derived:
            continue
        for i, value in _CONSTANT.get(op.type, {}).items():
            if op.has(i) and is_root(graph, op.inputs[i]):
                put(held[op.inputs[i]], np.full(graph.shape(op.inputs[i]), value, np.float32))
        i = _WEIGHTED.get(op.type, 0)
        if i and op.has(i) and graph.is_constant(op.inputs[i]):
            if not is_root(graph, op.inputs[i]):
                raise ModelError(
                    f"{op.title}: its weight is computed from constants, so it cannot start from"
                    " random values; train from the file's"
                )
            put(held[op.inputs[i]], _weight(graph, op, i, rng))
    return Model(proto, model.path, model.sha256, size(proto))


def _weight(graph: Graph, op: Op, i: int, rng: np.random.Generator) -> np.ndarray:
    shape = graph.shape(op.inputs[i])
    if op.type in CONVOLUTIONS:
        axis = 0 if op.type == "Conv" else 1
        fan_out = (
            shape[axis] * math.prod(shape[2:]) // (op.attrs.get("group", 1) if axis == 0 else 1)
        )
        return (rng.standard_normal(shape) * math.sqrt(2 / max(1, fan_out))).astype(np.float32)
    turned = op.type == "Gemm" and op.attrs.get("transB", 0)
    bound = 1 / math.sqrt(max(1, shape[-1 if turned else -2]))
    return rng.uniform(-bound, bound, shape).astype(np.float32)
