"""Where a shift of a layer's outputs goes."""

from typing import Any

import numpy as np
import onnx
import pytest
from text_graphs import model

from reprune_onnx.activations.linear import Linear
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.recovery.intercept import intercept_of
from reprune_onnx.recovery.values import with_values
from reprune_onnx.runtime.ort import Session
from reprune_onnx.types import Model

RNG = np.random.default_rng(2)
CONSTANTS: dict[str, Any] = {
    **{"w": RNG.standard_normal((4, 3, 3, 3)), "m": RNG.standard_normal((6, 4))},
    **{"bias": RNG.standard_normal(4), "row": RNG.standard_normal((1, 4)), "one": np.ones(1)},
    **{"gamma": RNG.uniform(0.5, 2, 4), "beta": RNG.standard_normal(4)},
    **{"mean": RNG.standard_normal(4), "var": RNG.uniform(0.5, 2, 4)},
    **{"channel": RNG.standard_normal((4, 1, 1)), "columns": RNG.standard_normal((1, 1, 1, 4))},
}
BN = "BatchNormalization (y, gamma, beta, mean, var)"
FOUND: dict[str, tuple[str, str, str]] = {
    "bias": ("y = Conv (x, w, bias)\n out = Relu (y)", "bias", "y"),
    "bias before batch norm": (f"y = Conv (x, w, bias)\n n = {BN}\n out = Relu (n)", "bias", "y"),
    "batch norm": (f"y = Conv (x, w)\n z = {BN}\n out = Relu (z)", "mean", "z"),
    "an Add": ("y = Conv (x, w)\n z = Add (y, channel)\n out = Relu (z)", "channel", "z"),
    "an Add before": ("y = Conv (x, w)\n z = Add (channel, y)\n out = Relu (z)", "channel", "z"),
    "Gemm": ("y = Gemm <beta = -0.5> (v, m, row)\n out = Relu (y)", "row", "y"),
    "Add after MatMul": ("y = MatMul (v, m)\n z = Add (y, bias)\n out = Relu (z)", "bias", "z"),
}
NONE = {
    "nothing": "y = Conv (x, w)\n out = Relu (y)",
    "an output": "out = Conv (x, w)\n z = Add (out, channel)",
    "shared bias": "y = Conv (x, w, bias)\n z = Conv (x, w, bias)\n out = Add (y, z)",
    "shared mean": f"y = Conv (x, w)\n z = {BN}\n out = Add (z, mean)",
    "computed bias": "b = Neg (bias)\n y = Conv (x, w, b)\n out = Relu (y)",
    "two readers": "y = Conv (x, w)\n z = Add (y, channel)\n out = Mul (y, z)",
    "along another axis": "y = Conv (x, w)\n z = Add (y, columns)\n out = Relu (z)",
    "one for all": "y = Conv (x, w)\n z = Add (y, one)\n out = Relu (z)",
    "one for all in Gemm": "y = Gemm (v, m, one)\n out = Relu (y)",
    "an activation": "y = Gemm (v, m, u)\n out = Relu (y)",
    "beta is zero": "y = Gemm <beta = 0.0> (v, m, row)\n out = Relu (y)",
    "numbers in the node": (
        "b = Constant <value_floats = [1.0, 2.0, 3.0, 4.0]> ()\ny = Conv (x, w, b)\n out = Relu (y)"
    ),
}


def graph_of(body: str) -> Graph:
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[2,3,6,6] x, float[5,6] v, float[5,4] u) => (float[] out) {{ {body} }}"""
    return Graph(Model(onnx.shape_inference.infer_shapes(model(text, **CONSTANTS))))


def layer_of(graph: Graph) -> Linear:
    op = next(op for op in graph.ops if op.type in ("Conv", "Gemm", "MatMul"))
    return Linear(op, graph.shape(op.inputs[1]))


@pytest.mark.parametrize(("body", "tensor", "made"), FOUND.values(), ids=FOUND)
def test_a_shift_of_the_constant_shifts_the_outputs(body: str, tensor: str, made: str) -> None:
    graph = graph_of(body)
    layer = layer_of(graph)
    intercept = intercept_of(graph, layer)
    assert intercept is not None
    assert intercept.tensor == tensor
    b = np.array([1.0, -2.0, 0.5, 3.0])
    changed = with_values(Model(graph.proto), {tensor: intercept.shifted(graph, b)}).proto
    feeds = {i.name: _random(i) for i in graph.proto.graph.input}
    before, after = (
        Session(p, optimize=False, outputs=[made]).run(feeds)[made] for p in (graph.proto, changed)
    )
    scale = np.ones(4)
    if tensor == "mean":
        scale = CONSTANTS["gamma"] / np.sqrt(CONSTANTS["var"] + 1e-5)
    shape = (4, *[1] * layer.trailing)
    expected = before + (scale * b).reshape(shape)
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("body", NONE.values(), ids=NONE)
def test_no_place_of_its_own(body: str) -> None:
    graph = graph_of(body)
    assert intercept_of(graph, layer_of(graph)) is None


@pytest.mark.parametrize("name", ["bias", "y"])
def test_what_is_an_output_of_the_graph_too_stays(name: str) -> None:
    body = FOUND["bias" if name == "bias" else "an Add"][0]
    proto = graph_of(body).proto
    assert intercept_of(Graph(Model(proto)), layer_of(Graph(Model(proto)))) is not None
    proto.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    graph = Graph(Model(proto))
    assert intercept_of(graph, layer_of(graph)) is None


def _random(value: onnx.ValueInfoProto) -> Any:
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
