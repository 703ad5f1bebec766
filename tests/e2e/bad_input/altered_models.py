"""Models written as text, and models with one thing changed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

HALF = (
    *("--sparsity", "0.5", "--method", "l1", "--allocation", "uniform"),
    *("--recover", "none"),
)
SIXTEENTHS = ("--preprocess", "mean=0;std=1;scale=0.0625")
INNER = "stage1.block1.conv1.weight"
IR_AND_OPSET = '<ir_version: 8, opset_import: ["" : 13, "custom" : 1]>'


def write(path: Path, text: str) -> Path:
    """Write a model given as text, its weights filled with random values."""
    model = parser.parse_model(f"{IR_AND_OPSET}\n{text}")
    rng = np.random.default_rng(0)
    inputs = [i for i in model.graph.input if i.name.startswith("W")]
    for value in inputs:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        model.graph.input.remove(value)
    path.write_bytes(model.SerializeToString())
    return path


def altered(source: Path, path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load(source, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def node(model: onnx.ModelProto, op_type: str) -> onnx.NodeProto:
    """Any node of this kind that is not the first: something comes before it."""
    return [n for n in model.graph.node if n.op_type == op_type][-1]


def set_value(model: onnx.ModelProto, name: str, value: float) -> None:
    array = numpy_helper.to_array(tensor(model, name)).copy()
    array.flat[0] = value
    tensor(model, name).CopyFrom(numpy_helper.from_array(array, name))
