"""Models in QDQ form: pruned as float networks, and written with whole numbers cut along."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import text_graphs
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.analyzer.dequantized import dequantized
from reprune_onnx.errors import ModelError, VerificationError
from reprune_onnx.runtime.ort import Session
from reprune_onnx.surgeon.requantized import requantized
from reprune_onnx.verification.rounded import check_rounded

HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> '
ENDS = "g (float[n,3,8,8] x) => (float[n,a,b,c] y) "
INPUT = "xq = QuantizeLinear (x, xs, xz) xd = DequantizeLinear (xq, xs, xz) "
BETWEEN = "hq = QuantizeLinear (h, hs, hz) hd = DequantizeLinear (hq, hs, hz) "
LAST = "vd = DequantizeLinear (v, vs, vz) y = Conv <pads = [1,1,1,1]> (hd, vd) "
KINDS = {
    "a scale per channel": INPUT
    + "wd = DequantizeLinear <axis = 0> (w, ws, wz) bd = DequantizeLinear <axis = 0> (b, bs)"
    + " h = Conv <pads = [1,1,1,1]> (xd, wd, bd) " + BETWEEN + LAST,
    "one scale": INPUT
    + "wd = DequantizeLinear (w, vs, vz) h = Conv <pads = [1,1,1,1]> (xd, wd) " + BETWEEN + LAST,
    "weights alone": "wd = DequantizeLinear <axis = 0> (w, ws) h0 = Conv <pads = [1,1,1,1]> (x, wd)"
    + " hd = Relu (h0) " + LAST,
    "weights in float": INPUT
    + "wq = QuantizeLinear <axis = 0> (f, ws, wz) wd = DequantizeLinear <axis = 0> (wq, ws, wz)"
    + " h = Conv <pads = [1,1,1,1]> (xd, wd) " + BETWEEN + LAST,
    "a transposed layer": INPUT
    + "wd = DequantizeLinear <axis = 1> (t, ws, wz) h = ConvTranspose (xd, wd) " + BETWEEN + LAST,
    "Constant nodes": "k = Constant <value = float {0.02}> () kz = Constant <value = int8 {3}> ()"
    " xq = QuantizeLinear (x, k, kz) xd = DequantizeLinear (xq, k, kz)"
    " wd = DequantizeLinear <axis = 0> (w, ws, wz) h = Conv <pads = [1,1,1,1]> (xd, wd) "
    + BETWEEN + LAST,
    "two that read one": INPUT
    + "wd = DequantizeLinear <axis = 0> (w, ws, wz) h = Conv <pads = [1,1,1,1]> (xd, wd)"
    " hq = QuantizeLinear (h, hs, hz) hd = DequantizeLinear (hq, hs, hz)"
    " he = DequantizeLinear (hq, hs, hz) vd = DequantizeLinear (v, vs, vz)"
    " p = Conv <pads = [1,1,1,1]> (hd, vd) q = Conv <pads = [1,1,1,1]> (he, vd) y = Add (p, q)",
    "ONNX Runtime's domain": INPUT
    + "wd = com.microsoft.DequantizeLinear <axis = 0> (w, ws, wz)"
    " h = Conv <pads = [1,1,1,1]> (xd, wd) " + BETWEEN + LAST,
}  # fmt: skip
rng = np.random.default_rng(5)
N = 12
WEIGHTS = {
    "w": rng.integers(-127, 128, (N, 3, 3, 3)).astype(np.int8),
    "t": rng.integers(-127, 128, (3, N, 1, 1)).astype(np.int8),
    "f": rng.standard_normal((N, 3, 3, 3)),
    "ws": rng.uniform(0.001, 0.02, N),
    "wz": np.zeros(N, np.int8),
    "b": rng.integers(-999, 999, N).astype(np.int32),
    "bs": rng.uniform(0.0001, 0.0004, N),
    "v": rng.integers(0, 256, (5, N, 3, 3)).astype(np.uint8),
    "vs": np.float32(0.01),
    "vz": np.uint8(128),
    "xs": np.float32(0.02),
    "xz": np.int8(3),
    "hs": np.float32(0.05),
    "hz": np.int8(-128),  # what is below 0 is cut off, as by a ReLU
}
WEIGHTS_OF_ONE = WEIGHTS | {"w": WEIGHTS["w"].view(np.uint8)}
PLAIN = rp.Settings(sparsity=0.5, recover="none", allocation="uniform")


def quantized(body: str) -> rp.Model:
    weights = WEIGHTS_OF_ONE if body == KINDS["one scale"] else WEIGHTS
    words = set(body.replace(",", " ").replace("(", " ").replace(")", " ").split())
    used = {name: value for name, value in weights.items() if name in words}
    return rp.Model(text_graphs.model(HEAD + ENDS + "{ " + body + " }", **used))


def tensors(model: rp.Model) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}


def run(model: rp.Model, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model.proto)
    return Session(model.proto, optimize=False).run({"x": x})["y"]


def masked(model: rp.Model, gone: np.ndarray) -> rp.Model:
    """The original, whose last layers see none of the channels that go."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    tensor = next(t for t in proto.graph.initializer if t.name == "v")
    array = numpy_helper.to_array(tensor).copy()
    array[:, gone] = WEIGHTS["vz"]
    tensor.CopyFrom(numpy_helper.from_array(array, "v"))
    return rp.Model(proto)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_computes_what_the_masked_original_does(kind):
    model = quantized(KINDS[kind])
    result = rp.prune(model, PLAIN)
    assert result.report["verification"]["passed"]
    keep = next(np.array(c["keep"]) for c in result.report["cuts"] if c["initializer"] == "wd")
    assert len(keep) == N // 2
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    gone = np.setdiff1d(np.arange(N), keep)
    wanted = run(masked(model, gone), x)
    made = run(result.model, x)
    np.testing.assert_allclose(made, wanted, atol=1e-5 * np.abs(wanted).max())
    other = run(masked(model, np.roll(keep, 1)), x)
    assert np.abs(made - other).max() > 0.1 * np.abs(wanted).max()


@pytest.mark.parametrize("kind", KINDS)
def test_names_nodes_and_whole_numbers_are_those_of_the_file(kind):
    model = quantized(KINDS[kind])
    result = rp.prune(model, PLAIN)
    nodes = [(n.op_type, *n.input, *n.output) for n in model.proto.graph.node]
    left = [(n.op_type, *n.input, *n.output) for n in result.model.proto.graph.node]
    constants = {n.output[0] for n in model.proto.graph.node if n.op_type == "Constant"}
    assert sorted(left) == sorted(n for n in nodes if n[-1] not in constants)
    before, after = tensors(model), tensors(result.model)
    assert after.keys() == before.keys() | constants
    keep = next(np.array(c["keep"]) for c in result.report["cuts"] if c["initializer"] == "wd")
    for name in before.keys() & {"w", "ws", "wz", "b", "bs", "f"}:
        np.testing.assert_array_equal(after[name], before[name][keep])
    np.testing.assert_array_equal(after["v"], before["v"][:, keep])
    if "t" in before:
        np.testing.assert_array_equal(after["t"], before["t"][:, keep])
    for name in before.keys() & {"vs", "vz", "hs", "hz", "xs", "xz"}:
        np.testing.assert_array_equal(after[name], before[name])
    assert result.report["before"]["params"] > result.report["after"]["params"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_float_network_is_what_the_file_rounds(kind):
    """It differs by what rounding makes, and put back it is the file again, to the last bit."""
    body = KINDS[kind]
    model = quantized(body)
    form = dequantized(model)
    assert form is not None
    made = {n.op_type for n in form.network.proto.graph.node}
    assert not made & {"QuantizeLinear", "DequantizeLinear"}
    x = np.random.default_rng(2).standard_normal((2, 3, 8, 8)).astype(np.float32)
    expected, real = run(form.network, x), run(model, x)
    error = np.abs(expected - real).max() / np.abs(real).max()
    assert error < (1e-6 if kind == "weights alone" else 0.03)
    back = requantized(form.network, form, ())
    np.testing.assert_array_equal(run(back.model, x), real)
    assert back.notes == ()


def test_recovery_rounds_again_and_says_so():
    """With least squares the file itself is nearer to the original."""
    model = quantized(KINDS["a scale per channel"])
    images = np.random.default_rng(7).standard_normal((96, 3, 8, 8)).astype(np.float32)
    how = {"sparsity": 0.4, "calibration": images, "allocation": "uniform"}
    plain = rp.prune(model, rp.Settings(recover="none", **how))
    fitted = rp.prune(model, rp.Settings(recover="least-squares", **how))
    notes = [n for n in fitted.report["notes"] if "have new values, rounded again" in n]
    assert len(notes) == 1
    assert not [n for n in plain.report["notes"] if "rounded again" in n]
    wanted = run(model, images)
    errors = [np.square(run(m.model, images) - wanted).mean() for m in (plain, fitted)]
    assert errors[1] < 0.9 * errors[0]
    kinds = {n: a.dtype for n, a in tensors(fitted.model).items()}
    assert kinds["v"] == np.uint8 and kinds["w"] == np.int8


def test_what_is_computed_with_before_the_layer_becomes_floats():
    body = "wd = DequantizeLinear (m, vs) wt = Transpose (wd) h = MatMul (x, wt) r = Relu (h)"
    body += " kd = DequantizeLinear (k, vs) y = MatMul (r, kd)"
    whole = {"m": (16, 8), "k": (16, 5)}
    drawn = {n: rng.integers(-99, 99, shape).astype(np.int8) for n, shape in whole.items()}
    proto = text_graphs.model(HEAD + ENDS + "{ " + body + " }", vs=np.float32(0.01), **drawn)
    result = rp.prune(rp.Model(proto), PLAIN)
    assert result.report["verification"]["passed"]
    notes = [n for n in result.report["notes"] if "became floats: nodes that compute with " in n]
    assert "1 of 2 constants in whole numbers, such as 'wd'" in notes[0]
    after = tensors(result.model)
    assert after["k"].dtype == np.int8 and after["k"].shape == (8, 5)
    assert after["wt"].dtype == np.float32 and "m" not in after


def test_scales_grow_where_values_do_not_fit_and_biases_follow():
    form = dequantized(quantized(KINDS["a scale per channel"]))
    values = {t.name: numpy_helper.to_array(t).copy() for t in form.network.proto.graph.initializer}
    values["wd"][3] *= 2.5
    values["bd"] += 0.01
    proto = onnx.ModelProto()
    proto.CopyFrom(form.network.proto)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    back = requantized(rp.Model(proto), form, ())
    after = tensors(back.model)
    grown = after["ws"] / WEIGHTS["ws"].astype(np.float32)
    assert grown[3] == pytest.approx(2.5 * np.abs(WEIGHTS["w"][3]).max() / 127, rel=0.02)
    np.testing.assert_allclose(np.delete(grown, 3), 1, rtol=0.02)
    np.testing.assert_allclose(after["bs"] / WEIGHTS["bs"], grown, rtol=1e-5)
    near = after["w"] * after["ws"].reshape(-1, 1, 1, 1)
    assert np.abs(near - values["wd"]).max() <= 0.501 * after["ws"].max()
    biases = after["b"] * after["bs"]
    np.testing.assert_allclose(biases, values["bd"], atol=0.51 * after["bs"].max())
    assert "2 of 3 constants" in back.notes[0]


def test_what_is_put_back_wrongly_is_seen():
    model = quantized(KINDS["a scale per channel"])
    form = dequantized(model)
    check_rounded(model, form.network)
    wrong = {
        "ws": np.roll(WEIGHTS["ws"], 1).astype(np.float32),
        "w": np.roll(WEIGHTS["w"], 1, axis=0),
        "hs": np.float32(0.06),
        "hz": np.int8(-127),
        "vz": np.uint8(127),
    }
    for name, array in wrong.items():
        proto = onnx.ModelProto()
        proto.CopyFrom(model.proto)
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(array, name))
        with pytest.raises(VerificationError, match=r"constant '.*' has other values"):
            check_rounded(rp.Model(proto), form.network)
    other = dequantized(quantized(KINDS["two that read one"])).network
    with pytest.raises(VerificationError, match="is not the network that was proven "):
        check_rounded(model, other)
    with pytest.raises(VerificationError, match="it has no whole numbers"):
        check_rounded(other, other)
    for proto, words in ((cut_short(model), r"is \(5, 11, 3, 3\), not"), (extra(model), "alone")):
        with pytest.raises(VerificationError, match=words):
            check_rounded(rp.Model(proto), form.network)


def cut_short(model: rp.Model) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    tensor = next(t for t in proto.graph.initializer if t.name == "v")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, 1:], "v"))
    return proto


def extra(model: rp.Model) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "more"))
    return proto


def test_times_of_layers_are_those_of_floats():
    how = rp.Settings(latency_reduction=0.3, recover="none")
    with pytest.raises(ModelError, match="times of layers in floating point, and the model is"):
        rp.prune(quantized(KINDS["one scale"]), how)


def test_verify_and_keep_and_recover_read_what_was_written(call, tmp_path):
    model = quantized(KINDS["a scale per channel"])
    rp.save(model, tmp_path / "a.onnx")
    a, b, c = (tmp_path / f"{n}.onnx" for n in "abc")
    how = ("--sparsity", "0.5", "--recover", "none")
    assert call("prune", a, "-o", b, *how).code == 0
    assert "verified" in call("verify", a, b).out
    again = call("prune", a, "-o", c, "--keep", tmp_path / "b.report.json", "--recover", "none")
    assert again.code == 0
    assert tensors(rp.load(b)).keys() == tensors(rp.load(c)).keys()
    np.savez(tmp_path / "x.npz", x=rng.standard_normal((64, 3, 8, 8)).astype(np.float32))
    how = ("--calibration", tmp_path / "x.npz", "--report", tmp_path / "b.report.json")
    recovered = call("recover", a, b, "-o", tmp_path / "d.onnx", *how)
    assert recovered.code == 0, recovered.err
    kinds = {t.name: t.data_type for t in rp.load(tmp_path / "d.onnx").proto.graph.initializer}
    assert kinds["v"] == onnx.TensorProto.UINT8
    wrong = rp.load(b).proto
    tensor = next(t for t in wrong.graph.initializer if t.name == "hs")
    tensor.CopyFrom(numpy_helper.from_array(np.float32(0.06), "hs"))
    onnx.save(wrong, b)
    said = call("verify", a, b)
    assert "recovered or trained" in said.out or said.code == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (INPUT + "z = MaxPool <kernel_shape = [2,2]> (xq) y = DequantizeLinear (z, xs, xz)",
         "reads whole numbers that MaxPool"),
        (INPUT + "c = Cast <to = 1> (xq) y = Conv (c, f)", "makes whole numbers that Cast"),
        ("xq = QuantizeLinear (x, xs, xz) y = DequantizeLinear (xq, hs, xz)", "has another scale"),
        ("m = ReduceMax <keepdims = 0> (x) xq = QuantizeLinear (x, m) y = DequantizeLinear (xq, m)",
         "that the graph computes"),
        ("xq = QuantizeLinear (x, s3, z3) y = DequantizeLinear (xq, s3, z3)", "for each channel"),
        ("wd = DequantizeLinear (w, xs) c = Conv (x, wd) y = Identity (wd)", ""),
        ("y = DequantizeLinear (w, xs)", "makes an output of constants"),
    ],
)  # fmt: skip
def test_forms_that_are_not_followed_are_refused_by_name(body, words):
    model = quantized(body)
    for name, array in (("s3", np.full(3, 0.1, np.float32)), ("z3", np.zeros(3, np.int8))):
        if name in body:
            model.proto.graph.initializer.append(numpy_helper.from_array(array, name))
    if not words:
        assert dequantized(model) is not None
        return
    with pytest.raises(ModelError, match=words) as error:
        dequantized(model)
    assert "the model is quantized, and " in str(error.value)
    assert "which is not followed: prune the float model" in str(error.value)
