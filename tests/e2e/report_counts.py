"""What a report counts, counted again from the files alone."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper


def arrays(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def bare(path: Path) -> bytes:
    """The bytes of a model without its metadata."""
    model = onnx.load(path)
    del model.metadata_props[:]
    return model.SerializeToString(deterministic=True)


def widths(report: dict) -> dict[str, list[int]]:
    return {layer["node"]: layer["out_channels"] for layer in report["layers"]}


def params(path: Path) -> int:
    return sum(a.size for a in arrays(path).values() if a.dtype.kind == "f")


def channels(path: Path) -> int:
    model, weights = onnx.load(path), arrays(path)
    return sum(weights[n.input[1]].shape[0] for n in model.graph.node if n.op_type in LAYERS)


LAYERS = ("Conv", "Gemm")


def macs(path: Path) -> int:
    """Multiply-adds of Conv and Gemm for one image, by ONNX's own shape inference."""
    model, weights = onnx.load(path), arrays(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shape = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*inferred.value_info, *inferred.output)
    }
    total = 0
    for node in model.graph.node:
        if node.op_type in LAYERS:
            positions = int(np.prod(shape[node.output[0]][2:], dtype=int))
            total += positions * weights[node.input[1]].size
    return total
