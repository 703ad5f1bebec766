"""Whole graphs, pruned, equal the graphs that a person would write by hand.

One oracle shares no code with the labels: for every structure the pruned graph is written out as
text, and each of its weights as an index into the original's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from branches_by_hand import (
    COMPUTED_PAD_SHORTCUT,
    CONCAT,
    EVEN_SPLIT,
    PAD_SHORTCUT,
    PROJECTED_RESIDUAL,
    RESIDUAL,
    ROUNDED_SPLIT,
    SPLIT,
    SQUEEZE_EXCITE,
)
from layers_by_hand import (
    DEPTHWISE,
    DEPTHWISE_MULTIPLIER,
    FLATTEN_GEMM,
    GROUPED,
    REPEATED_WEIGHT,
    RESHAPE_GEMM,
    SHARED_WEIGHT,
)
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from pruned_by_hand import Arrays, Case

import reprune_onnx as rp

CASES = [
    RESIDUAL,
    PROJECTED_RESIDUAL,
    CONCAT,
    SPLIT,
    EVEN_SPLIT,
    ROUNDED_SPLIT,
    DEPTHWISE,
    DEPTHWISE_MULTIPLIER,
    GROUPED,
    SQUEEZE_EXCITE,
    FLATTEN_GEMM,
    RESHAPE_GEMM,
    PAD_SHORTCUT,
    COMPUTED_PAD_SHORTCUT,
    SHARED_WEIGHT,
    REPEATED_WEIGHT,
]

SHARED_SCALE = """net (float[1,3,6,6] x) => (float[1,2,6,6] y)
    <float[4,3,1,1] p_w, float[4,3,3,3] q_w, float[1,4,1,1] scale, float[2,4,1,1] p_head_w,
     float[2,4,1,1] q_head_w>
    {
      p = Conv (x, p_w)
      q = Conv <pads = [1,1,1,1]> (x, q_w)
      p1 = Mul (p, scale)
      q1 = Mul (q, scale)
      p2 = Conv (p1, p_head_w)
      q2 = Conv (q1, q_head_w)
      y = Add (p2, q2)
    }"""


def parsed(text: str) -> onnx.ModelProto:
    """The graph as text; weights are declared there and have no values yet."""
    header = '<ir_version: 9, opset_import: ["" : 17]>'
    return onnx.parser.parse_model(f"{header}\n{text}")


def declared(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    made = {o for node in proto.graph.node for o in node.output}
    return {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in proto.graph.value_info
        if v.name not in made
    }


def random_weights(proto: onnx.ModelProto, seed: int) -> Arrays:
    """Values for the declared weights; all of them positive, as a variance has to be."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            0.1 + rng.random(shape) * (1 if "var" in name else rng.choice([-1, 1], shape))
        ).astype(np.float32)
        for name, shape in declared(proto).items()
    }


def with_weights(proto: onnx.ModelProto, weights: Arrays) -> onnx.ModelProto:
    """The graph with its declared weights as initializers, and every shape written down."""
    shapes = declared(proto)
    assert {name: weights[name].shape for name in shapes} == shapes
    del proto.graph.value_info[:]
    proto.graph.initializer.extend(numpy_helper.from_array(weights[n], n) for n in shapes)
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def nodes(proto: onnx.ModelProto) -> list[tuple[Any, ...]]:
    def value(attribute: onnx.AttributeProto) -> Any:
        held = helper.get_attribute_value(attribute)
        if not isinstance(held, onnx.TensorProto):
            return held
        return numpy_helper.to_array(held).tolist()

    return [
        (n.op_type, n.name, list(n.input), list(n.output), {a.name: value(a) for a in n.attribute})
        for n in proto.graph.node
    ]


def initializers(proto: onnx.ModelProto) -> Arrays:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


def outputs(proto: onnx.ModelProto) -> NDArray[np.float32]:
    image = np.random.default_rng(11).standard_normal(
        [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    )
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": image.astype(np.float32)})
    return np.asarray(y)


def prune(proto: onnx.ModelProto, keep: dict[str, list[int]], folder: Path) -> rp.Pruned:
    cuts = [{"initializer": name, "axis": 0, "keep": rows} for name, rows in keep.items()]
    selection = folder / "selection.json"
    selection.write_text(json.dumps({"cuts": cuts}))
    return rp.prune(rp.Model(proto), rp.Settings(recover="none", keep=selection, residual="prune"))


def by_hand(case: Case, weights: Arrays, pruned: onnx.ModelProto) -> onnx.ModelProto:
    """The expected graph. A tensor that pruning adds has a name of its own choice: ``SIZES``."""
    added = [t.name for t in pruned.graph.initializer if t.name not in case.text]
    text = case.expected.replace("SIZES", added[0]) if added else case.expected
    return with_weights(parsed(text), {**weights, **case.cut(weights)})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_the_graph_made_by_hand(case: Case, tmp_path: Path) -> None:
    weights = random_weights(parsed(case.text), seed=5)
    original = with_weights(parsed(case.text), weights)
    before = original.SerializeToString()

    result = prune(original, case.keep, tmp_path)

    assert original.SerializeToString() == before
    pruned = result.model.proto
    onnx.checker.check_model(pruned, full_check=True)
    expected = by_hand(case, weights, pruned)
    assert nodes(pruned) == nodes(expected)
    wanted, tensors = initializers(expected), initializers(pruned)
    assert {n: a.shape for n, a in tensors.items()} == {n: a.shape for n, a in wanted.items()}
    for name, array in wanted.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array, err_msg=name)
    assert list(pruned.graph.input) == list(original.graph.input)
    assert list(pruned.graph.output) == list(original.graph.output)
    np.testing.assert_allclose(outputs(pruned), outputs(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verification_tells_the_right_cut_from_a_wrong_one(case: Case, tmp_path: Path) -> None:
    original = with_weights(parsed(case.text), random_weights(parsed(case.text), seed=6))

    verification = prune(original, case.keep, tmp_path).report["verification"]

    assert verification["passed"] is True
    assert verification["max_abs_diff"] <= 1e-5 * verification["scale"]
    assert verification["negative_control"] >= 1e-3 * verification["scale"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_report_lists_every_tensor_that_lost_rows(case: Case, tmp_path: Path) -> None:
    weights = random_weights(parsed(case.text), seed=5)
    original = with_weights(parsed(case.text), weights)

    result = prune(original, case.keep, tmp_path)

    taken = dict(weights)
    for cut in result.report["cuts"]:
        name = cut["initializer"]
        assert cut["keep"] == sorted(set(cut["keep"]))
        taken[name] = taken[name].take(cut["keep"], axis=cut["axis"])
    expected = {**weights, **case.cut(weights)}
    assert {cut["initializer"] for cut in result.report["cuts"]} == set(case.cut(weights))
    for name, array in expected.items():
        np.testing.assert_array_equal(taken[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("text", "keep"),
    [(c.text, c.keep) for c in CASES] + [(SHARED_SCALE, {"p_w": [0, 1, 2], "q_w": [1, 3]})],
    ids=[c.name for c in CASES] + ["copied constant"],
)
def test_the_report_of_one_pruning_selects_the_same_again(
    text: str, keep: dict[str, list[int]], tmp_path: Path
) -> None:
    original = with_weights(parsed(text), random_weights(parsed(text), seed=5))
    first = prune(original, keep, tmp_path)
    report = tmp_path / "net.report.json"
    report.write_text(json.dumps(first.report))

    second = rp.prune(
        rp.Model(original), rp.Settings(recover="none", keep=report, residual="prune")
    )

    assert second.report["cuts"] == first.report["cuts"]
    assert second.report["rewritten"] == first.report["rewritten"]
    assert nodes(second.model.proto) == nodes(first.model.proto)


def test_a_constant_that_two_nodes_need_cut_differently_is_copied(tmp_path: Path) -> None:
    weights = random_weights(parsed(SHARED_SCALE), seed=5)
    original = with_weights(parsed(SHARED_SCALE), weights)

    result = prune(original, {"p_w": [0, 1, 2], "q_w": [1, 3]}, tmp_path)

    pruned = result.model.proto
    scales = {n.input[0]: n.input[1] for n in pruned.graph.node if n.op_type == "Mul"}
    assert len(set(scales.values())) == 2
    assert "scale" in scales.values()
    arrays = initializers(pruned)
    np.testing.assert_array_equal(arrays[scales["p"]], weights["scale"][:, [0, 1, 2]])
    np.testing.assert_array_equal(arrays[scales["q"]], weights["scale"][:, [1, 3]])
    (copy,) = set(scales.values()) - {"scale"}
    (cut,) = [c for c in result.report["cuts"] if c["initializer"] == copy]
    assert cut["source"] == "scale"
    assert result.report["verification"]["passed"] is True


def test_the_comparison_would_see_a_wrong_row() -> None:
    weights = random_weights(parsed(RESIDUAL.text), seed=5)
    cut = {**weights, **RESIDUAL.cut(weights)}
    wrong = {**cut, "b_w": weights["b_w"][[0, 1, 3]][:, [1, 4]]}

    right = outputs(with_weights(parsed(RESIDUAL.expected), cut))
    other = outputs(with_weights(parsed(RESIDUAL.expected), wrong))

    assert np.abs(right - other).max() > 1e-2 * np.abs(right).max()
