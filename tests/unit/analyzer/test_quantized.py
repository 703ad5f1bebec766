"""Quantized models of every kind are told from float ones, by what stands in the file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer.quantized import quantized_nodes
from reprune_onnx.report.devices import _WHERE

HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>'
KINDS: dict[str, tuple[str, str]] = {
    "QLinearConv": (
        """g (uint8[1,3,8,8] x) => (uint8[1,4,8,8] y)
        <float s = {0.1}, uint8 z = {128}, uint8[4,3,1,1] k> {
        y = QLinearConv (x, s, z, k, s, z, s, z) }""",
        "1 QLinearConv node, such as 'y'",
    ),
    "QLinearConv behind a float layer": (
        """g (float[1,3,8,8] x) => (float[1,4,8,8] y)
        <float s = {0.1}, uint8 z = {128}, uint8[4,4,1,1] k> {
        c = Conv (x, w)
        q = QuantizeLinear (c, s, z)
        i = QLinearConv (q, s, z, k, s, z, s, z)
        y = DequantizeLinear (i, s, z) }""",
        "1 QuantizeLinear, 1 QLinearConv and 1 DequantizeLinear nodes, such as 'q'",
    ),
    "ranges found at every run": (
        """g (float[1,3,8,8] x) => (float[1,4,8,8] y) <uint8[4,3,1,1] k> {
        q, s, z = DynamicQuantizeLinear (x)
        i = ConvInteger (q, k, z)
        f = Cast <to = 1> (i)
        y = Mul (f, s) }""",
        "1 DynamicQuantizeLinear and 1 ConvInteger nodes, such as 'q'",
    ),
    "ONNX Runtime's own": (
        """g (float[1,8] x) => (float[1,4] y) <uint8[4,1,4] k, float[4] s> {
        y = com.microsoft.MatMulNBits <K = 8, N = 4, bits = 4, block_size = 16> (x, k, s) }""",
        "1 MatMulNBits node, such as 'y'",
    ),
    "in a branch": (
        """g (float[1,3,8,8] x, bool flag) => (float[1,2,8,8] y) <float s = {0.1}, uint8 z = {9}> {
        c = Conv (x, w)
        e = If (flag) <then_branch = yes () => (float[1,4,8,8] a) {
            q = QuantizeLinear (c, s, z)
            a = DequantizeLinear (q, s, z) },
          else_branch = no () => (float[1,4,8,8] b) { b = Neg (c) }>
        y = Conv (e, v) }""",
        "1 QuantizeLinear and 1 DequantizeLinear nodes, such as '",
    ),
}
BYTES = """g (uint8[1,3,8,8] x) => (float[1,2,8,8] y) <float s = {0.02}, uint8 z = {3}> {
        f = DequantizeLinear (x, s, z)
        c = Conv (f, w)
        y = Conv (c, v) }"""


def graph(text: str) -> onnx.ModelProto:
    rng = np.random.default_rng(2)
    weights = {"w": rng.standard_normal((4, 3, 1, 1)), "v": rng.standard_normal((2, 4, 1, 1))}
    proto = model(f"{HEAD}\n{text}", **weights)
    made = {o for node in proto.graph.node for o in node.output}
    for value in [v for v in proto.graph.value_info if v.name not in made]:
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        array = rng.integers(1, 9, dims).astype(kind)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    return proto


ALONE = """g (float[1,3,8,8] x) => (float[1,2,8,8] y) <float s = {0.1}, int8[4,3,1,1] k> {
        w8 = DequantizeLinear (k, s)
        c = Conv (x, w8)
        y = Conv (c, v) }"""


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_refused_with_what_the_file_has(kind: str, call, tmp_path) -> None:
    text, words = KINDS[kind]
    path = tmp_path / "m.onnx"
    onnx.save(graph(text), path)
    for command in (("analyze", path), ("convert", path, "--target", "cpu")):
        result = call(*command)
        assert result.code == 1, result.err
        assert f"the model is quantized ({words}" in result.err, result.err


def test_an_image_in_bytes_makes_no_quantized_model() -> None:
    """DequantizeLinear of an input is preprocessing: the layers behind it are float, and pruned."""
    proto = graph(BYTES)
    assert quantized_nodes(proto) == []
    settings = rp.Settings(sparsity=0.5, recover="none", allocation="uniform")
    report = rp.prune(rp.Model(proto), settings).report
    assert report["layers"][0]["out_channels"] == [4, 2]
    assert report["verification"]["passed"]


def test_a_weight_in_int8_that_is_declared_as_an_input_is_a_weight() -> None:
    proto = graph(ALONE)
    proto.graph.input.append(
        onnx.helper.make_tensor_value_info("k", onnx.TensorProto.INT8, [4, 3, 1, 1])
    )
    assert len(quantized_nodes(proto)) == 1


@pytest.mark.parametrize(("target", "asked"), [("rtx-a6000", False), ("jetson-orin", True)])
def test_int8_is_said_to_be_where_it_is(call, model, digits, tmp_path, target, asked) -> None:
    out = tmp_path / "int8.onnx"
    images = ("--calibration", digits, "--preprocess", "scale=1/16", "--calibration-size", "16")
    how = ("--target", target, "--precision", "int8", *images)
    result = call("convert", model, *how, "-o", out)
    assert result.code == 0, result.err
    nodes = [n.op_type for n in onnx.load(out).graph.node]
    counts = {kind: nodes.count(kind) for kind in ("QuantizeLinear", "DequantizeLinear")}
    said = "int8 is in the file (" + " and ".join(f"{n} {k}" for k, n in counts.items())
    assert said in " ".join(result.out.split())
    assert min(counts.values()) > 10
    assert ("asked for when the engine is built" in result.out) is asked


def test_fp16_is_said_to_be_where_it_is() -> None:
    proto = graph(BYTES)
    assert "fp16 is not in the file" in _WHERE["fp16"](proto)
    for tensor in proto.graph.initializer:
        if tensor.name in "wv":
            array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    assert _WHERE["fp16"](proto) == "fp16 is in the file (2 weights)"


def test_int8_that_would_quantize_nothing_is_refused(call, tmp_path) -> None:
    """A model of element-wise ops that ONNX Runtime's quantizer leaves alone."""
    text = "g (float[1,3,8,8] x) => (float[1,3,8,8] y) { a = Exp (x)\n y = Neg (a) }"
    path, images = tmp_path / "m.onnx", tmp_path / "x.npz"
    onnx.save(model(f"{HEAD}\n{text}"), path)
    np.savez(images, x=np.ones((4, 3, 8, 8), np.float32))
    how = ("--target", "rtx-a6000", "--precision", "int8", "--calibration", images)
    result = call("convert", path, *how, "-o", tmp_path / "o.onnx")
    assert result.code == 1, result.err
    assert "quantizes none of the model's nodes" in result.err
    assert not (tmp_path / "o.onnx").exists()
