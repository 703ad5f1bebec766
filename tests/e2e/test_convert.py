"""`targets` and `convert`: files for a device, in its precisions, and what is refused."""

import json

import numpy as np
import onnx

from reprune_onnx.targets import target_names

IMAGES = ("--preprocess", "scale=1/16", "--calibration-size", "200")


def test_targets_are_listed(call):
    result = call("targets")
    assert result.code == 0
    assert all(name in result.out for name in target_names())
    printed = json.loads(call("targets", "--json", "-").out)
    assert [t["name"] for t in printed] == target_names()
    assert {t["name"]: t["limits"]["opset"] for t in printed}["jetson-tx2"] == 13


def test_fp16_goes_into_the_file_or_stays_a_flag(call, model, tmp_path):
    for target, inside in (("cuda", True), ("jetson-tx2", False)):
        out, how = tmp_path / f"{target}.onnx", tmp_path / f"{target}.json"
        result = call("convert", model, "--target", target, "-o", out, "--json", how)
        assert result.code == 0, result.err
        types = {t.data_type for t in onnx.load(out).graph.initializer}
        assert (onnx.TensorProto.FLOAT16 in types) == inside
        stored = json.loads(how.read_text())
        assert stored["precision"] == "fp16"
        assert stored["flag"] == ("" if inside else "fp16")
        assert stored["difference"] <= (2e-2 if inside else 1e-4)
        assert ("fp16 is not in the file" in result.out) == (not inside)


def test_fp16_is_compared_on_images_and_keeps_what_it_has_no_range_for(
    call, model, digits, tmp_path
):
    out, how = tmp_path / "half.onnx", tmp_path / "how.json"
    images = ("--target", "cuda", "--calibration", digits, *IMAGES)
    assert call("convert", model, *images, "-o", out, "--json", how).code == 0
    assert 0 < json.loads(how.read_text())["difference"] < 2e-2
    proto = onnx.load(model)  # values beyond the range of float16
    first = next(n.input[1] for n in proto.graph.node if n.op_type == "Conv")
    tensor = next(t for t in proto.graph.initializer if t.name == first)
    wild = onnx.numpy_helper.to_array(tensor) * np.float32(1e6)
    tensor.CopyFrom(onnx.numpy_helper.from_array(wild, first))
    onnx.save(proto, tmp_path / "wild.onnx")
    for given in (images, ("--target", "cuda")):
        to = ("convert", tmp_path / "wild.onnx", "-o", out, "--force", "--json", how)
        result = call(*to, *given)
        assert result.code == 0, result.err
        stored = json.loads(how.read_text())
        assert stored["difference"] < 2e-2
        assert stored["beyond_float16"][0]["op"] == "Conv"
        assert "reaches" in stored["beyond_float16"][0]["reason"]
        assert f"Conv '{stored['beyond_float16'][0]['node']}' stays float32" in result.out
        onnx.checker.check_model(onnx.load(out))
        assert call("analyze", out).code == 0


def test_int8_from_calibration_images_keeps_the_accuracy(call, model, digits, tmp_path):
    out = tmp_path / "int8.onnx"
    how = ("--target", "cpu", "--precision", "int8", "--calibration", digits, *IMAGES)
    result = call("convert", model, *how, "-o", out)
    assert result.code == 0, result.err
    graph = onnx.load(out).graph
    assert onnx.TensorProto.INT8 in {t.data_type for t in graph.initializer}
    assert [i.name for i in graph.input] == [i.name for i in onnx.load(model).graph.input]
    scores = tmp_path / "scores.json"
    how = ("--data", digits, "--preprocess", "scale=1/16", "--against", model, "--json", scores)
    assert call("evaluate", out, *how).code == 0
    assert json.loads(scores.read_text())["agreement"] > 98
    assert call("convert", out, "--target", "cpu", "-o", tmp_path / "again.onnx").code == 1


def test_int8_for_tensorrt_is_symmetric(call, model, digits, tmp_path):
    out, how = tmp_path / "int8.onnx", tmp_path / "how.json"
    device = ("--target", "rtx-a6000", "--precision", "int8", "--calibration", digits, *IMAGES)
    result = call("convert", model, *device, "-o", out, "--json", how)
    assert result.code == 0, result.err
    assert json.loads(how.read_text())["int8_error"] < 0.05
    graph = onnx.load(out).graph
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    points = [tensors[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"]
    assert len(points) > 10
    assert not any(p.any() for p in points)
    convs = [n for n in graph.node if n.op_type == "Conv"]
    assert all(tensors[n.input[2]].dtype == np.float32 for n in convs)


def test_what_cannot_be_converted(refuses, model, tmp_path):
    out = tmp_path / "o.onnx"
    convert = ("convert", model, "-o", out, "--target")
    refuses(*convert, "jetson-tx3", code=2, says=("did you mean 'jetson-tx2'?",))
    refuses(*convert, "jetson-tx2", "--precision", "int8", code=2, says=("has no int8",))
    refuses(*convert, "cpu", "--precision", "int8", code=2, says=("give --calibration",))
    refuses("convert", model, "-o", model, "--target", "cpu", says=("never written to",))
    out.write_text("mine")
    refuses(*convert, "cpu", says=("exists", "--force"))
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"ptrt\x00\x00")
    how = ("convert", engine, "-o", tmp_path / "p.onnx", "--target", "cpu")
    refuses(*how, says=("is a TensorRT engine, not an ONNX file",))
