"""A message says what to do next, and commands agree on what they print."""

import json

import numpy as np
import onnx
import pytest
import text_graphs


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--sparsity", "55"), "--sparsity 55 is outside [0, 1): it is a share, 0.5 for 50 %"),
        (("--macs-reduction", "30"), "--macs-reduction 30 is outside (0, 1): it is a share"),
        ((), "given: none (--macs-reduction 0.5 halves"),
    ],
)
def test_a_target_that_is_no_share_is_told_what_one_is(refuses, model, options, says):
    refuses("prune", model, *options, code=2, says=(says,))


def test_a_report_that_is_missing_is_one_that_prune_wrote(refuses, model):
    refuses(
        "verify",
        model,
        model,
        says=("model.report.json", "give the one that prune wrote beside its OUT"),
    )


@pytest.mark.parametrize("command", ["convert", "build"])
def test_what_is_written_for_a_device_has_the_precision_itself(call, command):
    text = " ".join(call(command, "--help").out.split())
    assert "Precision to compute in; default: the target's own." in text


def test_training_does_not_speak_of_a_target_that_it_has_not(call):
    text = " ".join(call("train", "--help").out.split())
    assert "--round-to N" in text
    assert "--target" not in text


def test_a_log_gets_the_targets_in_lines_as_long_as_other_tables(call):
    lines = call("targets").out.splitlines()
    (row,) = [line for line in lines if "jetson-tx2" in line]
    assert "32 or 8 fp16, 32 or 8 fp32" in row
    assert 80 < max(map(len, lines)) <= 160


def test_analyze_and_prune_count_a_tensor_that_two_nodes_share_once(call, tmp_path):
    text = """<ir_version: 8, opset_import: ["": 17]>
        net (float[1,3,8,8] x) => (float[1,4,8,8] y)
        <float[4,3,1,1] a_w, float[4,4,1,1] b_w, float[4] one, float[4] zero>
        {
          s = Identity (one)
          a = Conv (x, a_w)
          p = BatchNormalization (a, one, zero, zero, s)
          b = Conv (p, b_w)
          y = BatchNormalization (b, s, zero, zero, one)
        }"""
    proto = onnx.parser.parse_model(text)
    shapes = {"a_w": (4, 3, 1, 1), "b_w": (4, 4, 1, 1), "one": (4,), "zero": (4,)}
    del proto.graph.initializer[:]
    for name, shape in shapes.items():
        values = np.linspace(0.5, 1.5, np.prod(shape), dtype=np.float32).reshape(shape)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    path = tmp_path / "shared.onnx"
    onnx.save(proto, path)
    printed = json.loads(call("analyze", path, "--json", "-").out)
    assert printed["params"] == 12 + 16 + 4 + 4
    assert call("prune", path, "--sparsity", "0", "-o", tmp_path / "p.onnx").code == 0
    assert json.loads((tmp_path / "p.report.json").read_text())["before"]["params"] == 36


def test_what_no_file_alone_can_repair_is_said(call, tmp_path):
    """Layers without a BatchNormalization: data-free has nothing to go by, and none asks for it."""
    head = '<ir_version: 8, opset_import: ["": 17]> g (float[1,3,8,8] x) => (float[1,4,c,d] y)'
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((8, 3, 3, 3)), "v": rng.standard_normal((4, 8, 3, 3))}
    proto = text_graphs.model(
        f"{head} {{ a = Conv (x, w) r = Relu (a) y = Conv (r, v) }}", **weights
    )
    onnx.save(proto, tmp_path / "plain.onnx")
    args = ("prune", tmp_path / "plain.onnx", "--sparsity", "0.5", "-o", tmp_path / "out.onnx")
    for recover, said in (("data-free", True), ("none", False)):
        result = call(*args, "--recover", recover, "--force")
        assert result.code == 0
        line = " ".join(result.out.split())
        assert ("not recovered: no layer could be repaired by the file alone" in line) is said
