"""Units, their losses, what stays in float, and what is corrected after quantization."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import text_graphs
from onnx import numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

import reprune_onnx as rp
from reprune_onnx.activations.images import Images
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.int8 import sensitive
from reprune_onnx.int8.correct import corrected
from reprune_onnx.int8.error import ChannelError, Reference
from reprune_onnx.int8.quantizer import calibrated
from reprune_onnx.int8.sensitive import mixed
from reprune_onnx.int8.units import behind, units_of
from reprune_onnx.order import in_order
from reprune_onnx.runtime.ort import Session

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[n,3,8,8] x) => (float[n,a,b,c] y) '
BODY = """{ [first] h = Conv <pads = [1,1,1,1]> (x, w, b) [act] r = Relu (h)
    [second] s = Conv <pads = [1,1,1,1]> (r, v, c) [gate] g1 = Sigmoid (s) [times] t = Mul (s, g1)
    [third] u = Conv (t, k, d) [end] y = Sigmoid (u) }"""
rng = np.random.default_rng(2)
WEIGHTS = {
    "w": rng.standard_normal((8, 3, 3, 3)) / 5,
    "b": rng.standard_normal(8) / 4,
    "v": rng.standard_normal((8, 8, 3, 3)) / 8,
    "c": rng.standard_normal(8) / 4,
    "k": rng.standard_normal((4, 8, 1, 1)),
    "d": rng.standard_normal(4) / 4,
}
IMAGES = Images(
    "the images",
    tuple({"x": rng.standard_normal((8, 3, 8, 8)).astype(np.float32)} for _ in range(4)),
    32,
)
OTHERS = Images(
    "the images",
    tuple({"x": rng.standard_normal((8, 3, 8, 8)).astype(np.float32)} for _ in range(2)),
    16,
)


def network(**weights) -> rp.Model:
    return rp.Model(text_graphs.model(HEAD + BODY, **(WEIGHTS | weights)))


def unequal() -> rp.Model:
    """The network with one channel of the first layer a thousand times as large as the others."""
    scale = np.ones(8)
    scale[3] = 1000.0
    return network(
        w=WEIGHTS["w"] * scale[:, None, None, None],
        b=WEIGHTS["b"] * scale,
        v=WEIGHTS["v"] / scale[None, :, None, None],
    )


def test_a_layer_and_what_follows_it_are_a_unit():
    graph = Graph(network())
    units = units_of(graph)
    assert [u.nodes for u in units] == [
        ("first", "act"),
        ("second", "gate", "times"),
        ("third",),
    ]
    assert [(u.reads, u.ends) for u in units] == [
        (("x",), ("r",)),
        (("r",), ("t",)),
        (("t",), ("u",)),
    ]
    assert behind(graph) == {"end"}


def test_a_sum_belongs_to_the_later_of_its_layers():
    text = (
        HEAD
        + """{ [first] h = Conv <pads = [1,1,1,1]> (x, w) [second] s = Conv (h, q)
        [sum] t = Add (h, s) [third] y = Conv (t, k) }"""
    )
    graph = Graph(rp.Model(text_graphs.model(text, **WEIGHTS, q=np.ones((8, 8, 1, 1)))))
    assert [u.nodes for u in units_of(graph)] == [("first",), ("second", "sum"), ("third",)]


def test_nodes_without_a_name_get_one_of_their_own():
    proto = network().proto
    for node in proto.graph.node:
        node.name = "same" if node.op_type == "Conv" else ""
    ready = calibrated(rp.Model(proto), IMAGES, "onnxruntime").ready
    names = [node.name for node in ready.proto.graph.node]
    assert all(names) and len(set(names)) == len(names)


def test_a_file_whose_constants_have_to_be_inputs_gets_a_version_where_they_need_not():
    proto = network().proto
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        dims = list(tensor.dims)
        proto.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, dims)
        )
    made = calibrated(rp.Model(proto), IMAGES, "onnxruntime").quantized()
    onnx.checker.check_model(made.proto)


def test_what_is_excluded_stays_in_float():
    quantizer = calibrated(network(), IMAGES, "onnxruntime")
    every, less = quantizer.quantized(), quantizer.quantized(["second", "gate", "times"])
    held = [
        {t.name: t.data_type for t in m.proto.graph.initializer if len(t.dims) == 4}
        for m in (every, less)
    ]
    assert set(held[0].values()) == {onnx.TensorProto.INT8}
    assert held[1]["v"] == onnx.TensorProto.FLOAT
    assert sorted(held[1]) == ["k_quantized", "v", "w_quantized"]


@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 7, 3), 2), ((5, 3, 7, 6), 1), ((6, 10), 1), ((40, 1), None)]
)
def test_the_error_counts_every_channel_alike(shape, axis):
    draw = np.random.default_rng(0)
    y = draw.standard_normal(shape)
    if axis is not None:  # one channel varies more than others
        y *= np.moveaxis(np.linspace(1, 50, y.shape[axis]) * np.ones((1,) * y.ndim), -1, axis)
    other = y + 0.1 * draw.standard_normal(shape)
    error = ChannelError(y)
    for k in (slice(0, 2), slice(2, None)):
        error.add(y[k], other[k])
    rows = y.reshape(-1, 1) if axis is None else np.moveaxis(y, axis, -1).reshape(-1, shape[axis])
    off = (other - y).reshape(-1, 1)
    if axis is not None:
        off = np.moveaxis(other - y, axis, -1).reshape(-1, shape[axis])
    variance = rows.var(axis=0)
    wanted = ((off**2).mean(axis=0) / np.maximum(variance, 1e-3 * variance.mean())).mean()
    assert error.value() == pytest.approx(wanted)


def test_outputs_that_do_not_vary_have_no_error():
    error = ChannelError(np.ones((4, 3)))
    error.add(np.ones((4, 3)), np.zeros((4, 3)))
    assert error.value() == 0.0


def test_the_layers_that_int8_costs_most_stay_in_float(monkeypatch):
    """What one makes and the other reads is rounded unless both are in float."""
    monkeypatch.setattr(sensitive, "_MOST", 0.8)
    quantizer = calibrated(unequal(), IMAGES, "onnxruntime")
    result = mixed(quantizer, OTHERS)
    assert {x.layer for x in result.losses[:2]} == {"first", "second"}
    assert result.losses[1].loss > 10 * result.losses[2].loss
    assert set(result.in_float) == {"first", "second"}
    assert result.errors[2] < 0.1 * result.errors[0]
    reference = Reference(quantizer.ready, OTHERS)
    assert reference.error_of(result.model) == pytest.approx(result.errors[2])


def test_where_int8_costs_little_all_layers_are_quantized(monkeypatch):
    monkeypatch.setattr(sensitive, "_SMALL", 0.1)
    result = mixed(calibrated(network(), IMAGES, "onnxruntime"), OTHERS)
    assert result.in_float == ()
    assert {x.layer for x in result.losses} == {"first", "second", "third"}
    assert [x.loss for x in result.losses] == sorted((x.loss for x in result.losses), reverse=True)


def wrong(model: rp.Model) -> rp.Model:
    """Weights a fifth too large in every other channel, and biases that are off."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if tensor.name in ("w_scale", "v_scale") and array.ndim:
            array = array * np.where(np.arange(len(array)) % 2, 1.2, 1.0).astype(array.dtype)
        elif tensor.name in ("b_quantized", "c_quantized"):
            array = array + np.array(900, array.dtype)
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return rp.Model(proto)


def test_scales_and_biases_that_are_off_are_corrected():
    quantizer = calibrated(network(), IMAGES, "onnxruntime")
    good = quantizer.quantized(["end"])
    bad = wrong(good)
    reference = Reference(quantizer.ready, OTHERS)
    before, after = (reference.error_of(m) for m in (bad, corrected(quantizer.ready, bad, IMAGES)))
    assert before is not None and after is not None
    assert before > 0.02
    assert after < 0.1 * before


def test_whole_numbers_of_weights_stay_and_biases_keep_the_product_of_scales():
    quantizer = calibrated(network(), IMAGES, "onnxruntime")
    good = quantizer.quantized(["end"])
    made = corrected(quantizer.ready, good, IMAGES)
    onnx.checker.check_model(made.proto)
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in m.proto.graph.initializer} for m in (good, made)
    )
    for weight, bias, x in (("w", "b", "x"), ("v", "c", "r"), ("k", "d", "t")):
        np.testing.assert_array_equal(after[f"{weight}_quantized"], before[f"{weight}_quantized"])
        product = after[f"{weight}_scale"] * after[f"{x}_scale"]
        np.testing.assert_allclose(after[f"{bias}_quantized_scale"], product, rtol=1e-5)


def test_one_scale_for_a_whole_weight_stays_and_biases_are_corrected():
    quantizer = calibrated(network(), IMAGES, "onnxruntime")
    proto = onnx.ModelProto()
    proto.CopyFrom(quantizer.ready.proto)
    whole = QDQQuantizer(
        *(proto, False, True, QuantType.QInt8, QuantType.QUInt8, quantizer.ranges),
        *([], ["end"], ["Conv"], {"WeightSymmetric": True}),
    )
    whole.quantize_model()
    good = in_order(rp.Model(whole.model.model))
    before = {t.name: numpy_helper.to_array(t) for t in good.proto.graph.initializer}
    assert before["w_scale"].size == 1
    made = corrected(quantizer.ready, wrong(good), IMAGES)
    onnx.checker.check_model(made.proto)
    after = {t.name: numpy_helper.to_array(t) for t in made.proto.graph.initializer}
    assert {name: a.shape for name, a in after.items()} == {n: a.shape for n, a in before.items()}
    reference = Reference(quantizer.ready, OTHERS)
    off, better = (reference.error_of(m) for m in (wrong(good), made))
    assert off is not None and better is not None and better < 0.2 * off


def test_the_correction_does_not_make_a_sound_file_worse():
    quantizer = calibrated(network(), IMAGES, "onnxruntime")
    good = quantizer.quantized(["end"])
    reference = Reference(quantizer.ready, OTHERS)
    made = corrected(quantizer.ready, good, IMAGES)
    before, after = (reference.error_of(m) for m in (good, made))
    assert before is not None and after is not None and after < 1.1 * before


def test_outputs_of_another_shape_have_no_error():
    whole = network()
    reference = Reference(whole, OTHERS)
    other = network(k=np.ones((2, 8, 1, 1)), d=np.ones(2))
    assert reference.error_of(other) is None
    assert Session(other.proto, optimize=True).outputs
