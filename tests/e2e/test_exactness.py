"""What pruning must not change: nothing at sparsity 0, and no output when dead filters go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.choices import Method, Residual
from reprune_onnx.pruner.select import METHODS

DEMO = Path(__file__).parents[2] / "models" / "digits_resnet.onnx"

DEAD_BY_WEIGHT = """<ir_version: 8, opset_import: ["" : 13]>
    net (float[N,3,8,8] x) => (float[N,2,8,8] y)
    <float[6,3,3,3] first_w, float[6] first_b, float[5,6,3,3] second_w, float[5] second_b,
     float[2,5,1,1] head_w>
    {
      a = Conv <pads = [1,1,1,1]> (x, first_w, first_b)
      b = Relu (a)
      c = Conv <pads = [1,1,1,1]> (b, second_w, second_b)
      d = Relu (c)
      y = Conv (d, head_w)
    }"""

DEAD_BY_GAMMA = """<ir_version: 8, opset_import: ["" : 13]>
    net (float[N,3,8,8] x) => (float[N,2] y)
    <float[6,3,3,3] first_w, float[6] gamma, float[6] beta, float[6] mean, float[6] var,
     float[6,1,3,3] deep_w, float[5,6,1,1] second_w, float[2,5] head_w, float[2] head_b>
    {
      a = Conv <pads = [1,1,1,1]> (x, first_w)
      b = BatchNormalization (a, gamma, beta, mean, var)
      c = Relu (b)
      d = Conv <pads = [1,1,1,1], group = 6> (c, deep_w)
      e = Conv (d, second_w)
      f = Relu (e)
      g = GlobalAveragePool (f)
      h = Flatten (g)
      y = Gemm <transB = 1> (h, head_w, head_b)
    }"""

DEAD_SUM = """<ir_version: 8, opset_import: ["" : 13]>
    net (float[N,3,8,8] x) => (float[N,2,8,8] y)
    <float[6,3,1,1] first_w, float[6] first_b, float[4,6,3,3] inner_w, float[6,4,1,1] outer_w,
     float[6] outer_b, float[2,6,1,1] head_w>
    {
      a = Conv (x, first_w, first_b)
      b = Relu (a)
      c = Conv <pads = [1,1,1,1]> (b, inner_w)
      d = Relu (c)
      e = Conv (d, outer_w, outer_b)
      s = Add (b, e)
      y = Conv (s, head_w)
    }"""

DEAD = [1, 4, 5]
ALIVE = [0, 2, 3]


def model(text: str, dead: tuple[str, ...] = (), seed: int = 3) -> onnx.ModelProto:
    """The graph with random weights, zero at the channels ``DEAD`` of the tensors ``dead``."""
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(seed)
    made = {o for node in proto.graph.node for o in node.output}
    weights = [v for v in proto.graph.value_info if v.name not in made]
    del proto.graph.value_info[:]
    for value in weights:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        array = rng.standard_normal(shape).astype(np.float32)
        if value.name == "var":
            array = np.abs(array) + np.float32(0.1)
        if value.name in dead:
            array[DEAD] = 0
        proto.graph.initializer.append(numpy_helper.from_array(array, value.name))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def outputs(proto: onnx.ModelProto) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(8).standard_normal((2, 3, 8, 8)).astype(np.float32)
    return np.asarray(session.run(None, {"x": x})[0])


def without(proto: onnx.ModelProto, layer: str, kept: list[int], folder: Path) -> rp.Pruned:
    """The model with only the channels ``kept`` of one layer."""
    selection = folder / "selection.json"
    cuts = [{"initializer": layer, "axis": 0, "keep": kept}]
    selection.write_text(json.dumps({"cuts": cuts}))
    return rp.prune(rp.Model(proto), rp.Settings(recover="none", keep=selection, residual="prune"))


def contents(proto: onnx.ModelProto) -> dict[str, Any]:
    """All of the file but its metadata, in comparable form."""
    graph = proto.graph
    return {
        "nodes": [n.SerializeToString(deterministic=True) for n in graph.node],
        "tensors": {t.name: numpy_helper.to_array(t).tobytes() for t in graph.initializer},
        "types": {t.name: (t.data_type, tuple(t.dims)) for t in graph.initializer},
        "inputs": list(graph.input),
        "outputs": list(graph.output),
        "values": list(graph.value_info),
        "opset": [(o.domain, o.version) for o in proto.opset_import],
        "ir_version": proto.ir_version,
        "names": (graph.name, graph.doc_string, proto.producer_name),
    }


@pytest.mark.parametrize("method", [m for m, row in METHODS.items() if row.needs == "weights"])
@pytest.mark.parametrize("residual", get_args(Residual))
def test_sparsity_zero_changes_nothing(method: Method, residual: Residual) -> None:
    original = model(DEAD_SUM)

    result = rp.prune(
        rp.Model(original), rp.Settings(sparsity=0.0, method=method, residual=residual)
    )

    assert contents(result.model.proto) == contents(original)
    assert result.report["cuts"] == []
    assert result.report["rewritten"] == []
    assert result.report["before"]["params"] == result.report["after"]["params"]
    assert result.report["before"]["macs"] == result.report["after"]["macs"]
    assert result.report["achieved"]["sparsity"] == 0


@pytest.mark.parametrize("text", [DEAD_BY_WEIGHT, DEAD_BY_GAMMA], ids=["plain", "depthwise"])
def test_sparsity_zero_changes_nothing_in_other_graphs(text: str) -> None:
    original = model(text)

    result = rp.prune(rp.Model(original), rp.Settings(sparsity=0.0))

    assert contents(result.model.proto) == contents(original)


def test_sparsity_zero_changes_nothing_in_the_demo_model() -> None:
    original = onnx.load(DEMO)

    result = rp.prune(rp.load(DEMO), rp.Settings(sparsity=0.0, residual="prune"))

    assert contents(result.model.proto) == contents(original)


DEAD_CASES = [
    pytest.param(DEAD_BY_WEIGHT, ("first_w", "first_b"), "first_w", id="zero filters and biases"),
    pytest.param(DEAD_BY_GAMMA, ("gamma", "beta"), "first_w", id="zero gamma and beta"),
    pytest.param(
        DEAD_SUM, ("first_w", "first_b", "outer_w", "outer_b"), "outer_w", id="residual sum"
    ),
]


@pytest.mark.parametrize(("text", "dead", "layer"), DEAD_CASES)
def test_dropping_dead_filters_leaves_the_outputs(
    text: str, dead: tuple[str, ...], layer: str, tmp_path: Path
) -> None:
    original = model(text, dead)

    result = without(original, layer, ALIVE, tmp_path)

    expected = outputs(original)
    results = outputs(result.model.proto)
    np.testing.assert_allclose(results, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    shapes = {t.name: tuple(t.dims) for t in result.model.proto.graph.initializer}
    assert shapes[layer][0] == len(ALIVE)
    assert result.report["verification"]["passed"] is True


@pytest.mark.parametrize(("text", "dead", "layer"), DEAD_CASES)
def test_dropping_live_filters_changes_the_outputs(
    text: str, dead: tuple[str, ...], layer: str, tmp_path: Path
) -> None:
    original = model(text, dead)

    result = without(original, layer, [0, 1, 2, 4, 5], tmp_path)

    expected = outputs(original)
    assert np.abs(outputs(result.model.proto) - expected).max() > 1e-3 * np.abs(expected).max()
    assert result.report["verification"]["passed"] is True


@pytest.mark.parametrize(("text", "dead", "layer"), DEAD_CASES[:1])
@pytest.mark.parametrize("method", ["l1", "l2"])
def test_norms_choose_the_dead_filters(
    text: str, dead: tuple[str, ...], layer: str, method: Method
) -> None:
    original = model(text, dead)

    result = rp.prune(
        rp.Model(original),
        rp.Settings(
            recover="none", sparsity=0.5, method=method, allocation="uniform", exclude=("Conv_2",)
        ),
    )

    cuts = {(c["initializer"], c["axis"]): c["keep"] for c in result.report["cuts"]}
    assert cuts[layer, 0] == ALIVE
