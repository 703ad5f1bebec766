"""Files that are no model, or none that can be pruned."""

import json

import numpy as np
import onnx
import pytest
from altered_models import HALF, altered, node, set_value, tensor, write
from onnx import TensorProto, numpy_helper

# ── the file is no model ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", ["prune", "analyze", "evaluate", "verify"])
def test_the_model_does_not_exist(refuses, tmp_path, digits, command):
    path = tmp_path / "nowhere.onnx"
    report = tmp_path / "empty.report.json"
    report.write_text('{"cuts": []}')
    more = {"prune": HALF, "evaluate": ("--data", digits), "verify": (path, "--report", report)}
    refuses(command, path, *more.get(command, ()), says=("nowhere.onnx", "No such file"))


def test_the_model_is_a_folder(refuses, tmp_path):
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    refuses("prune", folder, *HALF, says=("folder.onnx", "directory"))


@pytest.mark.parametrize("command", ["prune", "analyze"])
@pytest.mark.parametrize(
    "kind", ["empty", "text", "half", "less one byte", "random", "zeros", "zip"]
)
def test_the_file_is_not_onnx_or_truncated(refuses, tmp_path, demo, digits, command, kind):
    content = demo.read_bytes()
    data = {
        "empty": b"",
        "text": b"this is a shopping list: bread, milk, apples\n",
        "half": content[: len(content) // 2],
        "less one byte": content[:-1],
        "random": np.random.default_rng(1).bytes(5000),
        "zeros": bytes(5000),
        "zip": digits.read_bytes(),
    }
    path = tmp_path / "model.onnx"
    path.write_bytes(data[kind])
    named = {"empty": "is an empty file", "zip": ": unpack it, and give the .onnx file"}
    says = ("model.onnx", named.get(kind, "ONNX"))
    refuses(command, path, *(HALF if command == "prune" else ()), says=says)


def test_a_weight_is_truncated(refuses, demo, tmp_path):
    def shorten(m):
        weight = tensor(m, "stage1.block1.conv2.weight")
        weight.raw_data = weight.raw_data[:-4]

    path = altered(demo, tmp_path / "model.onnx", shorten)
    refuses("prune", path, *HALF, says=("stage1.block1.conv2.weight",))


def test_an_empty_name(refuses):
    refuses("prune", "", *HALF)


# ── the model is none that can be pruned ────────────────────────────────────────────────────────


def test_there_is_nothing_but_the_head(refuses, tmp_path):
    path = write(
        tmp_path / "m.onnx", "g (float[1,8] x, float[8,4] W) => (float[1,4] y) {y = MatMul(x, W)}"
    )
    refuses("prune", path, *HALF, says=("nothing can be pruned", "graph output 'y'"))


def test_nothing_is_prunable(refuses, tmp_path):
    path = write(
        tmp_path / "m.onnx",
        "g (float[1,3,8,8] x, float[4,3,3,3] W) => (float[1,4,6,6] y) {y = Conv(x, W)}",
    )
    refuses("prune", path, *HALF, says=("nothing can be pruned", "graph output 'y'"))


def test_everything_is_excluded(refuses, model):
    refuses("prune", model, *HALF, "--exclude", "*", says=("--exclude",))


QUANTIZED = {
    "QLinearConv": """g (uint8[1,3,8,8] x) => (uint8[1,1,8,8] y)
        <float s = {0.1}, uint8 z = {128}, uint8[1,3,1,1] w = {1,2,3}> {
        y = QLinearConv(x, s, z, w, s, z, s, z)}""",
    "ConvInteger": """g (uint8[1,3,8,8] x) => (int32[1,1,8,8] y)
        <uint8[1,3,1,1] w = {1,2,3}> { y = ConvInteger(x, w)}""",
}


@pytest.mark.parametrize("op", QUANTIZED)
def test_the_model_is_quantized(refuses, tmp_path, op):
    path = write(tmp_path / "m.onnx", QUANTIZED[op])
    for command in (("prune", path, *HALF), ("analyze", path)):
        refuses(*command, says=("quantized", op))


CUSTOM = """g (float[1,3,8,8] x, float[6,3,3,3] W1, float[2,6,3,3] W2, float[2,2,1,1] W3)
    => (float[1,2,4,4] y) {
    a = Conv(x, W1)
    b = Conv(a, W2)
    c = custom.Mystery(b)
    y = Conv(c, W3)}"""


def test_onnx_runtime_cannot_load_the_model(refuses, call, tmp_path):
    path, out = write(tmp_path / "m.onnx", CUSTOM), tmp_path / "small.onnx"
    refuses("prune", path, "-o", out, *HALF, says=("ONNX Runtime", "Mystery", "--custom-ops"))
    result = call("prune", path, "-o", out, *HALF, "--no-verify", "--recover", "none")
    assert result.code == 0
    assert "NOT verified" in result.out
    shapes = {t.name: list(t.dims) for t in onnx.load(out).graph.initializer}
    assert shapes == {"W1": [3, 3, 3, 3], "W2": [2, 3, 3, 3], "W3": [2, 2, 1, 1]}
    assert json.loads((tmp_path / "small.report.json").read_text())["verification"] is None


def test_a_node_reads_what_nothing_makes(refuses, demo, tmp_path):
    path = altered(demo, tmp_path / "m.onnx", lambda m: m.graph.node.pop(0))
    refuses("prune", path, *HALF, says=("reads", "nothing produces"))


DAMAGES = {
    "a weight of other dims than its data": lambda m: tensor(
        m, "stage1.block1.conv2.weight"
    ).dims.__setitem__(0, 17),
    "a weight of another type": lambda m: setattr(
        tensor(m, "stage1.block1.conv2.weight"), "data_type", TensorProto.DOUBLE
    ),
    "a weight of no type": lambda m: setattr(
        tensor(m, "stage1.block1.conv2.weight"), "data_type", TensorProto.UNDEFINED
    ),
    "a weight of other rank": lambda m: tensor(m, "stage1.block1.conv2.weight").CopyFrom(
        numpy_helper.from_array(np.ones((16, 16), np.float32), "stage1.block1.conv2.weight")
    ),
    "a weight for other inputs": lambda m: tensor(m, "stage1.block1.conv2.weight").CopyFrom(
        numpy_helper.from_array(np.ones((16, 5, 3, 3), np.float32), "stage1.block1.conv2.weight")
    ),
    "a BatchNormalization of other length": lambda m: tensor(
        m, node(m, "BatchNormalization").input[1]
    ).CopyFrom(
        numpy_helper.from_array(np.ones(7, np.float32), node(m, "BatchNormalization").input[1])
    ),
    "groups that do not divide": lambda m: next(
        a for a in node(m, "Conv").attribute if a.name == "group"
    ).__setattr__("i", 5),
    "no groups at all": lambda m: next(
        a for a in node(m, "Conv").attribute if a.name == "group"
    ).__setattr__("i", 0),
    "a Conv without inputs": lambda m: node(m, "Conv").ClearField("input"),
    "an Add of one input": lambda m: node(m, "Add").input.pop(),
    "a DepthToSpace without a block size": lambda m: setattr(
        node(m, "Relu"), "op_type", "DepthToSpace"
    ),
    "a Reshape without a shape": lambda m: setattr(node(m, "Relu"), "op_type", "Reshape"),
    "an operator that does not exist": lambda m: setattr(node(m, "Relu"), "op_type", "Foo"),
    "an output made twice": lambda m: node(m, "Relu").output.append(m.graph.node[0].output[0]),
    "no outputs": lambda m: m.graph.ClearField("output"),
    "an output that nothing makes": lambda m: setattr(m.graph.output[0], "name", "nothing"),
    "no opset": lambda m: m.ClearField("opset_import"),
    "an opset of the future": lambda m: setattr(m.opset_import[0], "version", 999),
    "an IR version of the future": lambda m: setattr(m, "ir_version", 999),
    "images too large for any machine": lambda m: setattr(
        m.graph.input[0].type.tensor_type.shape.dim[3], "dim_value", 10**12
    ),
    "other channels than the weights": lambda m: setattr(
        m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 2
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_graph_is_refused(refuses, demo, tmp_path, kind):
    path = altered(demo, tmp_path / "m.onnx", DAMAGES[kind])
    refuses("prune", path, *HALF)


@pytest.mark.parametrize("kind", DAMAGES)
def test_analyzing_a_damaged_graph_never_crashes(call, demo, tmp_path, kind):
    path = altered(demo, tmp_path / "m.onnx", DAMAGES[kind])
    result = call("analyze", path)
    assert result.code in (0, 1), result.err
    assert "Traceback" not in result.err


def test_an_input_of_unknown_rank_asks_for_its_shape(refuses, call, demo, tmp_path):
    def forget(m):
        m.graph.input[0].type.tensor_type.ClearField("shape")

    path, out = altered(demo, tmp_path / "m.onnx", forget), tmp_path / "small.onnx"
    refuses("prune", path, "-o", out, *HALF, says=("input", "--input-shape"))
    shape = ("--input-shape", "input=1,1,8,8")
    assert call("prune", path, "-o", out, *HALF, *shape).code == 0


# ── NaN and infinite weights prove nothing ──────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("weight", ["stem.conv.weight", "stage1.block1.conv2.weight"])
def test_weights_that_are_not_finite(refuses, demo, tmp_path, value, weight):
    path = altered(demo, tmp_path / "m.onnx", lambda m: set_value(m, weight, value))
    refuses("prune", path, *HALF)


def test_a_layer_whose_weights_are_all_infinite(refuses, tmp_path):
    text = "g (float[1,3,8,8] x, float[4,3,1,1] W1, float[4,4,1,1] W2) => (float[1,4,8,8] y)"
    path = write(tmp_path / "m.onnx", f"{text} {{ a = Conv (x, W1)\n y = Conv (a, W2) }}")

    def change(m):
        tensors = m.graph.initializer[0]
        tensors.raw_data = np.full(tensors.dims, np.inf, np.float32).tobytes()

    refuses("prune", altered(path, path, change), "--sparsity", "0.5", says=("infinite",))


def test_a_gamma_that_is_no_number_is_no_crash(call, demo, tmp_path):
    gamma = "stage1.block1.bn1.weight"
    path = altered(demo, tmp_path / "m.onnx", lambda m: set_value(m, gamma, np.nan))
    result = call("prune", path, "--sparsity", "0.5")
    assert result.code in (0, 1)
    assert "Traceback" not in result.err


# ── what looks bad and is not ───────────────────────────────────────────────────────────────────


def test_several_nodes_of_one_name(refuses, call, demo, tmp_path):
    """ONNX Runtime takes no such file, so there is no proof, but the tool itself can tell them."""

    def rename(m):
        for n in m.graph.node:
            n.name = "same"

    path, out = altered(demo, tmp_path / "m.onnx", rename), tmp_path / "small.onnx"
    refuses("prune", path, "-o", out, *HALF, says=("ONNX Runtime", "same"))
    assert call("prune", path, "-o", out, *HALF, "--no-verify").code == 0
    assert {n.name for n in onnx.load(out).graph.node} == {"same"}


def test_nodes_without_a_name(call, demo, tmp_path):
    def rename(m):
        for n in m.graph.node:
            n.name = ""

    path, out = altered(demo, tmp_path / "m.onnx", rename), tmp_path / "small.onnx"
    assert call("prune", path, "-o", out, *HALF).code == 0
    assert {n.name for n in onnx.load(out).graph.node} == {""}
