"""Ops beside ONNX's: they pass where a target has them, and are refused by name elsewhere."""

import json

import numpy as np
import onnx
import pytest

from reprune_onnx.deployment.convert import convert
from reprune_onnx.errors import ModelError
from reprune_onnx.targets import read_target
from tests.unit.runtime.test_tail import TAILS, efficient, network

NMS = [name for name in TAILS if name.startswith("a plugin")]
RNG = np.random.default_rng(0)
DELEGATE = network("y = com.foo.Delegate (c2)", "float[N] y", imports=', "com.foo" : 1')


@pytest.mark.parametrize("name", NMS)
@pytest.mark.parametrize("target", ["jetson-tx2", "jetson-xavier", "jetson-orin", "cuda"])
def test_a_plugin_passes_where_tensorrt_has_it(name, target):
    model, entering = TAILS[name]
    for precision in ("fp32", "fp16"):
        converted = convert(model, read_target(target), precision)
        assert converted.difference <= converted.allowed
        assert all(f"'{tensor}'" in converted.note for tensor in entering)
        last, before = converted.model.proto.graph.node[-1], model.proto.graph.node[-1]
        assert (last.op_type, last.attribute[:]) == (before.op_type, before.attribute[:])
        assert (last.input, last.output) == (before.input, before.output)
        assert list(converted.model.proto.graph.output) == list(model.proto.graph.output)
        types = {t.data_type for t in converted.model.proto.graph.initializer}
        inside = precision == "fp16" and read_target(target).limits.types == "file"
        assert (onnx.TensorProto.FLOAT16 in types) == inside


@pytest.mark.parametrize(
    ("model", "target", "named"),
    [
        (efficient(), "cpu", "EfficientNMS_TRT 'EfficientNMS_TRT_8'"),
        (efficient("trt."), "cpu", "of the domain 'trt'"),
        (DELEGATE, "jetson-tx2", "Delegate 'Delegate_5'"),
        (DELEGATE, "cpu", "of the domain 'com.foo'"),
    ],
)
def test_elsewhere_it_is_refused_by_name(model, target, named):
    with pytest.raises(ModelError) as told:
        convert(model, read_target(target), "fp32")
    assert named in str(told.value)
    assert "name it under 'plugins' in a target file of your own" in str(told.value)


def test_what_onnx_runtime_has_passes_for_it_alone():
    model = network(
        "y = com.microsoft.QuickGelu (c2)", "float[A, B, C, D] y", imports=', "com.microsoft" : 1'
    )
    converted = convert(model, read_target("cpu"), "fp32")
    assert converted.note is None
    assert converted.model.proto.graph.node[-1].op_type == "QuickGelu"
    with pytest.raises(ModelError, match="QuickGelu"):
        convert(model, read_target("jetson-orin"), "fp32")


def test_a_plugin_of_ones_own_passes_by_a_target_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'precisions = ["fp32"]\nmultiples = {}\n[onnx]\nparser = "tensorrt-8.2"\n'
        'plugins = ["Delegate"]\n'
    )
    converted = convert(DELEGATE, read_target(str(path)), "fp32")
    assert converted.model.proto.graph.node[-1].op_type == "Delegate"
    assert "ONNX Runtime lacks com.foo.Delegate 'Delegate_5'" in converted.note


def test_int8_measures_and_compares_up_to_the_plugin(call, tmp_path):
    model, data = tmp_path / "model.onnx", tmp_path / "x.npz"
    onnx.save(efficient().proto, model)
    np.savez(data, x=RNG.standard_normal((32, 3, 8, 8)).astype(np.float32))
    out, how = tmp_path / "int8.onnx", tmp_path / "how.json"
    given = ("--target", "cuda", "--precision", "int8", "--calibration", data)
    result = call("convert", model, *given, "--preprocess", "none", "-o", out, "--json", how)
    assert result.code == 0, result.err
    assert "note: ONNX Runtime lacks EfficientNMS_TRT" in result.out
    kinds = [n.op_type for n in onnx.load(out).graph.node]
    assert kinds[-1] == "EfficientNMS_TRT"
    assert "QuantizeLinear" in kinds
    assert 0 < json.loads(how.read_text())["int8_error"] < 0.5


def test_a_bundle_says_that_outputs_behind_a_plugin_have_no_reference(call, tmp_path):
    model, out = tmp_path / "model.onnx", tmp_path / "bundle"
    onnx.save(TAILS["two tails, and an output of the head"][0].proto, model)
    target_file = tmp_path / "mine.toml"
    target_file.write_text(
        'precisions = ["fp32"]\nmultiples = {}\n[onnx]\nparser = "tensorrt-8.2"\n'
        'plugins = ["Count"]\n[build]\nwith = "trtexec"\ntensorrt = "8.2"\n'
    )
    result = call("bundle", model, "--target", target_file, "-o", out)
    assert result.code == 0, result.err
    assert "note: ONNX Runtime lacks EfficientNMS_TRT" in result.out
    (entry,) = json.loads((out / "bundle.json").read_text())["models"]
    assert [port["name"] for port in entry["outputs"]] == ["m"]
