"""Bad input gets one clear line and exit 1 (2 for usage), no traceback, no file left behind."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

HALF = ("--sparsity", "0.5", "--method", "l1", "--allocation", "uniform")
SIXTEENTHS = ("--preprocess", "mean=0;std=1;scale=0.0625")
LAYER = "/stage2/block2/conv1/Conv"
IR_AND_OPSET = '<ir_version: 8, opset_import: ["" : 13, "custom" : 1]>'


# ── tools ───────────────────────────────────────────────────────────────────────────────────────


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every file below ``folder`` with its bytes, and every folder."""
    found = sorted(folder.rglob("*"))
    return {str(p): p.read_bytes() if p.is_file() else None for p in found}


@pytest.fixture
def refuses(call, tmp_path) -> Callable[..., str]:
    """Call a command that must fail, and return its one line."""

    def refuses(*args: object, says: tuple[str, ...] = (), code: int = 1) -> str:
        before = everything(tmp_path)
        result = call(*args)
        assert "Traceback" not in result.err
        assert result.code == code, result.err
        assert everything(tmp_path) == before
        lines = result.err.splitlines()
        if code == 2 and lines[0].startswith(("Usage:", "╭")):
            text = " ".join(result.err.replace("│", " ").split())
        else:
            assert len(lines) == 1, result.err
            assert lines[0].startswith("reprune-onnx: ")
            text = lines[0]
        for part in says:
            assert part in text
        assert result.out == ""
        return text

    return refuses


def write(path: Path, text: str) -> Path:
    """Write a model given as text, its weights filled with random values."""
    model = parser.parse_model(f"{IR_AND_OPSET}\n{text}")
    rng = np.random.default_rng(0)
    inputs = [i for i in model.graph.input if i.name.startswith("W")]
    for value in inputs:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        model.graph.input.remove(value)
    path.write_bytes(model.SerializeToString())
    return path


def altered(source: Path, path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load(source, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def node(model: onnx.ModelProto, op_type: str) -> onnx.NodeProto:
    """Any node of this kind that is not the first: something comes before it."""
    return [n for n in model.graph.node if n.op_type == op_type][-1]


def set_value(model: onnx.ModelProto, name: str, value: float) -> None:
    array = numpy_helper.to_array(tensor(model, name)).copy()
    array.flat[0] = value
    tensor(model, name).CopyFrom(numpy_helper.from_array(array, name))


@pytest.fixture
def model(demo, tmp_path) -> Path:
    return Path(shutil.copy(demo, tmp_path / "model.onnx"))


@pytest.fixture
def pair(call, model, tmp_path) -> tuple[Path, Path]:
    """A model and what pruning made of it; the report lies beside the latter."""
    pruned = tmp_path / "small.onnx"
    assert call("prune", model, "-o", pruned, *HALF).code == 0
    return model, pruned


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
    whole = demo.read_bytes()
    data = {
        "empty": b"",
        "text": b"this is a shopping list: bread, milk, apples\n",
        "half": whole[: len(whole) // 2],
        "less one byte": whole[:-1],
        "random": np.random.default_rng(1).bytes(5000),
        "zeros": bytes(5000),
        "zip": digits.read_bytes(),
    }
    path = tmp_path / "model.onnx"
    path.write_bytes(data[kind])
    refuses(command, path, *(HALF if command == "prune" else ()), says=("model.onnx", "ONNX"))


def test_a_weight_is_truncated(refuses, demo, tmp_path):
    def shorten(m):
        weight = tensor(m, "stage1.block1.conv2.weight")
        weight.raw_data = weight.raw_data[:-4]

    path = altered(demo, tmp_path / "model.onnx", shorten)
    refuses("prune", path, *HALF, says=("stage1.block1.conv2.weight",))


def test_an_empty_name(refuses):
    refuses("prune", "", *HALF)


# ── the model is none that can be pruned ────────────────────────────────────────────────────────


def test_there_is_no_conv(refuses, tmp_path):
    path = write(
        tmp_path / "m.onnx", "g (float[1,8] x, float[8,4] W) => (float[1,4] y) {y = MatMul(x, W)}"
    )
    for command in (("prune", path, *HALF), ("analyze", path)):
        refuses(*command, says=("no Conv",))


def test_nothing_is_prunable(refuses, tmp_path):
    path = write(
        tmp_path / "m.onnx",
        "g (float[1,3,8,8] x, float[4,3,3,3] W) => (float[1,4,6,6] y) {y = Conv(x, W)}",
    )
    refuses("prune", path, *HALF, says=("nothing can be pruned", "graph output 'y'"))


def test_everything_is_excluded(refuses, model):
    refuses("prune", model, *HALF, "--exclude", "*", says=("--exclude",))


QUANTIZED = {
    "QuantizeLinear": """g (float[1,3,8,8] x, float[4,3,3,3] W1, float[2,4,3,3] W2)
        => (float[1,2,4,4] y) <float s = {0.1}, uint8 z = {128}> {
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        c = Conv(d, W1)
        y = Conv(c, W2)}""",
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


CUSTOM = """g (float[1,3,8,8] x, float[6,3,3,3] W1, float[2,6,3,3] W2) => (float[1,2,4,4] y) {
    a = Conv(x, W1)
    b = Conv(a, W2)
    y = custom.Mystery(b)}"""


def test_onnx_runtime_cannot_load_the_model(refuses, call, tmp_path):
    path, out = write(tmp_path / "m.onnx", CUSTOM), tmp_path / "small.onnx"
    refuses("prune", path, "-o", out, *HALF, says=("ONNX Runtime cannot load", "Mystery"))
    result = call("prune", path, "-o", out, *HALF, "--no-verify")
    assert result.code == 0
    assert "NOT verified" in result.out
    shapes = {t.name: list(t.dims) for t in onnx.load(out).graph.initializer}
    assert shapes == {"W1": [3, 3, 3, 3], "W2": [2, 3, 3, 3]}
    assert json.loads((tmp_path / "small.report.json").read_text())["verification"] is None


def test_a_node_reads_what_nothing_before_it_makes(refuses, demo, tmp_path):
    def unsort(m):
        nodes = list(m.graph.node)[::-1]
        del m.graph.node[:]
        m.graph.node.extend(nodes)

    path = altered(demo, tmp_path / "m.onnx", unsort)
    refuses("prune", path, *HALF, says=("reads", "nothing before it produces"))


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


def test_a_gamma_that_is_no_number_is_no_crash(call, demo, tmp_path):
    gamma = "stage1.block1.bn1.weight"
    path = altered(demo, tmp_path / "m.onnx", lambda m: set_value(m, gamma, np.nan))
    result = call("prune", path, "--sparsity", "0.5")
    assert result.code in (0, 1)
    assert "Traceback" not in result.err


# ── external data ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def external(demo, tmp_path) -> Path:
    """The demo model with its weights beside it."""
    folder = tmp_path / "external"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save_model(
        onnx.load(demo), path, save_as_external_data=True, location="w.data", size_threshold=0
    )
    return path


def point_to(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(m):
        for t in m.graph.initializer:
            for entry in t.external_data:
                if entry.key == "location":
                    entry.value = location

    return change


def test_external_data_is_read_where_it_is_whole(call, external, tmp_path):
    assert call("prune", external, "-o", tmp_path / "small.onnx", *HALF).code == 0


def test_external_data_is_missing(refuses, external):
    (external.parent / "w.data").unlink()
    for command in (("prune", external, *HALF), ("analyze", external)):
        refuses(*command, says=("w.data", "missing"))


@pytest.mark.parametrize("way", ["parent", "inside out", "absolute", "link", "empty"])
def test_external_data_escapes_the_folder(refuses, external, tmp_path, way):
    outside = Path(shutil.move(external.parent / "w.data", tmp_path / "w.data"))
    (external.parent / "sub").mkdir()
    location = {
        "parent": "../w.data",
        "inside out": "sub/../../w.data",
        "absolute": str(outside),
        "link": "link.data",
        "empty": "",
    }[way]
    if way == "link":
        (external.parent / "link.data").symlink_to(outside)
    altered(external, external, point_to(location))
    refuses("prune", external, *HALF, says=("outside the folder",))


def test_external_data_is_truncated(refuses, external):
    data = external.parent / "w.data"
    data.write_bytes(data.read_bytes()[:-100])
    refuses("prune", external, *HALF, says=("w.data", "truncated"))


@pytest.mark.parametrize("entry", ["offset", "length"])
def test_external_data_has_a_damaged_entry(refuses, external, entry):
    def change(m):
        for t in m.graph.initializer:
            for e in t.external_data:
                if e.key == entry:
                    e.value = "many"

    altered(external, external, change)
    refuses("prune", external, *HALF, says=("external data",))


# ── a glob that matches nothing ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("option", ["--include", "--exclude"])
@pytest.mark.parametrize("glob", ["*stage2/blok2*", "/stage2/block2/conv1", "stage2", "/STAGE2/*"])
def test_a_glob_matches_nothing(refuses, model, option, glob):
    refuses("prune", model, *HALF, option, glob, says=(option, glob, "near misses: '/stage2"))


def test_a_layer_glob_matches_nothing(refuses, model):
    line = refuses("prune", model, *HALF, "--layer", "/stage2/block2/conv1=4", says=("--layer",))
    assert LAYER in line


@pytest.mark.parametrize("value", ["9999", "33"])
def test_a_layer_cannot_keep_more_than_it_has(refuses, model, value):
    refuses("prune", model, *HALF, "--layer", f"{LAYER}={value}", says=(LAYER, "32"))


# ── OUT ─────────────────────────────────────────────────────────────────────────────────────────


def test_out_exists(refuses, call, model, tmp_path):
    out = tmp_path / "small.onnx"
    out.write_bytes(b"precious")
    refuses("prune", model, "-o", out, *HALF, says=("small.onnx", "exists", "--force"))
    assert call("prune", model, "-o", out, *HALF, "--force").code == 0
    onnx.checker.check_model(out)


def test_the_default_out_exists(refuses, model, tmp_path):
    (tmp_path / "model-pruned.onnx").write_bytes(b"precious")
    refuses("prune", model, *HALF, says=("model-pruned.onnx", "exists"))


def test_the_report_exists(refuses, model, tmp_path):
    (tmp_path / "small.report.json").write_bytes(b"precious")
    refuses("prune", model, "-o", tmp_path / "small.onnx", *HALF, says=("small.report.json",))


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_out_lies_in_a_folder_that_does_not_exist(refuses, model, tmp_path, force):
    out = tmp_path / "nowhere" / "small.onnx"
    refuses("prune", model, "-o", out, *HALF, *force, says=("cannot write", "nowhere"))


def test_out_lies_below_a_file(refuses, model, tmp_path):
    (tmp_path / "file").write_bytes(b"precious")
    refuses("prune", model, "-o", tmp_path / "file" / "small.onnx", *HALF, says=("cannot write",))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_lies_in_a_folder_without_permission(refuses, model, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    refuses("prune", model, "-o", folder / "small.onnx", *HALF, says=("permission",))


def test_out_is_a_folder(refuses, model, tmp_path):
    (tmp_path / "folder").mkdir()
    refuses("prune", model, "-o", tmp_path / "folder", *HALF, "--force", says=("folder",))


@pytest.mark.parametrize("name", ["", "x" * 300 + ".onnx"])
def test_out_has_an_impossible_name(refuses, model, tmp_path, name):
    out = str(tmp_path / name) if name else ""
    refuses("prune", model, "-o", out, *HALF)


@pytest.mark.parametrize("option", ["-o", "--report"])
@pytest.mark.parametrize("way", ["itself", "dots", "link", "hard link"])
def test_the_model_is_never_written_to(refuses, model, tmp_path, option, way):
    (tmp_path / "sub").mkdir()
    path = {
        "itself": model,
        "dots": tmp_path / "sub" / ".." / "model.onnx",
        "link": tmp_path / "link.onnx",
        "hard link": tmp_path / "hard.onnx",
    }[way]
    if way == "link":
        path.symlink_to(model)
    if way == "hard link":
        path.hardlink_to(model)
    refuses("prune", model, option, path, *HALF, "--force", says=("never written to",))


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_the_weights_beside_the_model_are_never_written_to(refuses, external, option):
    refuses("prune", external, option, external.parent / "w.data", *HALF, "--force")


def test_the_report_may_not_replace_the_model_it_is_about(refuses, model, tmp_path):
    out = tmp_path / "small.onnx"
    refuses("prune", model, "-o", out, "--report", out, *HALF)


def test_the_report_that_is_applied_is_not_overwritten_by_its_own(refuses, pair, tmp_path):
    model, pruned = pair
    report = pruned.with_name("small.report.json")
    out = tmp_path / "again.onnx"
    refuses("prune", model, "-o", out, "--keep", report, "--report", report, says=("exists",))


@pytest.mark.parametrize("command", ["analyze", "evaluate"])
def test_json_does_not_replace_the_model(refuses, model, digits, command):
    more = ("--data", digits, *SIXTEENTHS) if command == "evaluate" else ()
    refuses(command, model, *more, "--json", model, says=("model.onnx",))


def test_json_in_a_folder_that_does_not_exist(refuses, model, tmp_path):
    path = tmp_path / "nowhere" / "a.json"
    refuses("analyze", model, "--json", path, says=("cannot write", "nowhere"))


# ── usage ───────────────────────────────────────────────────────────────────────────────────────

TARGET = ("--sparsity", "0.5")
USAGE = {
    "sparsity 1.2": ("--sparsity", "1.2"),
    "sparsity 1": ("--sparsity", "1"),
    "sparsity -0.1": ("--sparsity", "-0.1"),
    "sparsity nan": ("--sparsity", "nan"),
    "sparsity inf": ("--sparsity", "inf"),
    "sparsity abc": ("--sparsity", "abc"),
    "sparsity empty": ("--sparsity", ""),
    "no value": ("--sparsity",),
    "no target": (),
    "two targets": ("--sparsity", "0.5", "--macs-reduction", "0.5"),
    "macs reduction 0": ("--macs-reduction", "0"),
    "macs reduction 1": ("--macs-reduction", "1"),
    "macs reduction nan": ("--macs-reduction", "nan"),
    "params reduction 1.5": ("--params-reduction", "1.5"),
    "unknown option": (*TARGET, "--sparcity", "0.5"),
    "unknown method": (*TARGET, "--method", "magic"),
    "unknown linkage": (*TARGET, "--linkage", "centroid"),
    "unknown residual": (*TARGET, "--residual", "maybe"),
    "unknown preset": (*TARGET, "--preset", "scissors"),
    "jobs 0": (*TARGET, "--jobs", "0"),
    "jobs many": (*TARGET, "--jobs", "many"),
    "round to 0": (*TARGET, "--round-to", "0"),
    "min channels 0": (*TARGET, "--min-channels", "0"),
    "calibration size 0": (*TARGET, "--calibration-size", "0"),
    "seed -1": (*TARGET, "--seed", "-1"),
    "seed 1.5": (*TARGET, "--seed", "1.5"),
    "layer without a number": (*TARGET, "--layer", "*conv1*"),
    "layer with a word": (*TARGET, "--layer", "*conv1*=few"),
    "layer with a square": (*TARGET, "--layer", "*conv1*=²"),
    "layer of none": (*TARGET, "--layer", "*conv1*=0"),
    "layer without a glob": (*TARGET, "--layer", "=4"),
    "input shape without a name": (*TARGET, "--input-shape", "1,1,8,8"),
    "input shape of words": (*TARGET, "--input-shape", "input=1,one,8,8"),
    "input shape of zero": (*TARGET, "--input-shape", "input=0,1,8,8"),
    "input shape of another input": (*TARGET, "--input-shape", "inptu=1,1,8,8"),
    "input shape of another rank": (*TARGET, "--input-shape", "input=1,1,8"),
    "input shape of another size": (*TARGET, "--input-shape", "input=1,1,8,9"),
    "input shape given twice": (
        *TARGET,
        *("--input-shape", "input=1,1,8,8", "--input-shape", "input=2,1,8,8"),
    ),
    "a second model": ("other.onnx", *TARGET),
}


@pytest.mark.parametrize("kind", USAGE)
def test_usage(refuses, model, tmp_path, kind):
    refuses("prune", model, "-o", tmp_path / "small.onnx", *USAGE[kind], code=2)


@pytest.mark.parametrize(
    "argv", [("prune",), ("nothing",), ("verify", "a.onnx"), ("evaluate", "a.onnx")]
)
def test_arguments_are_missing(refuses, argv):
    refuses(*argv, code=2)


def test_a_misspelt_input_is_named_with_its_near_miss(refuses, model):
    refuses("analyze", model, "--input-shape", "inptu=1,1,8,8", code=2, says=("'input'",))


@pytest.mark.parametrize("target", ["--macs-reduction", "--params-reduction"])
def test_a_reduction_out_of_reach(refuses, model, target):
    refuses("prune", model, target, "0.99999", says=("cannot be reached", "at most"))


def test_a_round_multiple_that_nothing_reaches_changes_nothing(call, model, tmp_path):
    out = tmp_path / "small.onnx"
    assert call("prune", model, "-o", out, *HALF, "--round-to", "1000").code == 0
    assert json.loads((tmp_path / "small.report.json").read_text())["cuts"] == []


# ── a selection that does not fit ───────────────────────────────────────────────────────────────


def row(initializer: object, keep: object, axis: object = 0) -> dict[str, object]:
    return {"initializer": initializer, "axis": axis, "keep": keep}


INNER = "stage1.block1.conv1.weight"
KEEPS = {
    "not JSON": "keep: [1, 2, 3]",
    "binary": b"\xff\xfe\x00\x01",
    "empty": "",
    "a list": "[]",
    "a number": "3",
    "without cuts": '{"schema": 1}',
    "cuts that are no list": '{"cuts": 5}',
    "a cut without keep": '{"cuts": [{"initializer": "a", "axis": 0}]}',
    "words to keep": json.dumps({"cuts": [row(INNER, ["a", "b"])]}),
    "halves to keep": json.dumps({"cuts": [row(INNER, [0.5, 1.5])]}),
    "an axis that is a word": json.dumps({"cuts": [row(INNER, [0], "out")]}),
    "an axis that is not there": json.dumps({"cuts": [row(INNER, [0], 9)]}),
    "a row that is not there": json.dumps({"cuts": [row(INNER, [0, 16])]}),
    "a row below zero": json.dumps({"cuts": [row(INNER, [-1, 0])]}),
    "the same row twice": json.dumps({"cuts": [row(INNER, [3, 3])]}),
    "no row at all": json.dumps({"cuts": [row(INNER, [])]}),
    "another model's weight": json.dumps({"cuts": [row("backbone.conv7.weight", [0])]}),
    "channels of the output": json.dumps({"cuts": [row("fc.weight", [0, 1, 2])]}),
    "channels of the residual stream": json.dumps({"cuts": [row("stem.conv.weight", [0, 1])]}),
    "settings that are no settings": '{"cuts": [], "settings": 5}',
    "a source that is no source": '{"cuts": [], "source": 5}',
    "brackets without end": "[" * 100_000,
}


@pytest.mark.parametrize("kind", KEEPS)
def test_a_selection_that_does_not_fit(refuses, model, tmp_path, kind):
    file = tmp_path / "selection.json"
    content = KEEPS[kind]
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refuses("prune", model, "--keep", file, says=("selection.json",))


def test_a_selection_that_does_not_exist(refuses, model, tmp_path):
    refuses("prune", model, "--keep", tmp_path / "none.json", says=("none.json", "No such file"))


def test_a_selection_of_another_model(refuses, call, model, tmp_path):
    other = write(
        tmp_path / "other.onnx",
        """g (float[1,3,8,8] x, float[6,3,3,3] W1, float[2,6,3,3] W2) => (float[1,2,4,4] y) {
        a = Conv(x, W1)
        y = Conv(a, W2)}""",
    )
    assert call("prune", other, *HALF).code == 0
    refuses("prune", model, "--keep", tmp_path / "other-pruned.report.json", says=("W1",))


# ── data ────────────────────────────────────────────────────────────────────────────────────────


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


DATA = {
    "of another size": {"x": np.zeros((4, 1, 9, 9), np.uint8), "y": np.zeros(4, np.int64)},
    "of other channels": {"x": np.zeros((4, 2, 8, 8), np.uint8), "y": np.zeros(4, np.int64)},
    "of rank 2": {"x": np.zeros((4, 64), np.uint8), "y": np.zeros(4, np.int64)},
    "without images": {"x": np.zeros((0, 1, 8, 8), np.uint8), "y": np.zeros(0, np.int64)},
    "of 64-bit integers": {"x": np.zeros((4, 1, 8, 8), np.int64), "y": np.zeros(4, np.int64)},
    "with NaN": {"x": np.full((4, 1, 8, 8), np.nan, np.float32), "y": np.zeros(4, np.int64)},
    "labels out of range": {"x": np.zeros((4, 1, 8, 8), np.uint8), "y": np.array([0, 1, 2, 10])},
    "labels below 0": {"x": np.zeros((4, 1, 8, 8), np.uint8), "y": np.array([0, 1, 2, -1])},
    "too few labels": {"x": np.zeros((4, 1, 8, 8), np.uint8), "y": np.array([0, 1])},
    "labels that are words": {"x": np.zeros((4, 1, 8, 8), np.uint8), "y": np.array(list("abcd"))},
    "no labels": {"x": np.zeros((4, 1, 8, 8), np.uint8)},
    "no arrays of images": {"a": np.zeros(3), "b": np.zeros(3)},
    "objects": {"x": np.array([None, {}], dtype=object), "y": np.zeros(2, np.int64)},
}


@pytest.mark.parametrize("kind", DATA)
def test_data_that_does_not_fit(refuses, model, tmp_path, kind):
    data = saved(tmp_path / "data.npz", **DATA[kind])
    refuses("evaluate", model, "--data", data, says=("data.npz",))


@pytest.mark.parametrize("spec", ["none.npz", "none", "none.module:function", "json:nothing", ""])
def test_data_that_does_not_exist(refuses, model, spec):
    refuses("evaluate", model, "--data", spec)


def test_data_that_is_no_data(refuses, model, tmp_path):
    (tmp_path / "data.npz").write_bytes(b"not a zip")
    refuses("evaluate", model, "--data", tmp_path / "data.npz", says=("data.npz",))
    (tmp_path / "empty").mkdir()
    refuses("evaluate", model, "--data", tmp_path / "empty", says=("empty",))
    refuses("evaluate", model, "--data", model, says=("model.onnx",))


def test_an_array_of_the_data_is_misspelt(refuses, model, digits):
    line = refuses("evaluate", model, "--data", f"{digits}:x_tset,y")
    assert "x_tset" in line
    refuses("evaluate", model, "--data", f"{digits}:x,y_trian", says=("did you mean 'y_train'",))


@pytest.mark.parametrize("spec", ["cifar11", "mean=a;std=1", "mean=0,0,0,0,0", "speed=5", "std=0"])
def test_a_preprocess_that_is_none(refuses, call, model, digits, spec):
    result = call("evaluate", model, "--data", digits, "--preprocess", spec)
    assert result.code in (1, 2)
    refuses("evaluate", model, "--data", digits, "--preprocess", spec, code=result.code)


def test_the_original_to_compare_with_is_another_kind_of_model(refuses, model, digits, tmp_path):
    other = write(
        tmp_path / "other.onnx",
        """g (float[N,1,8,8] x, float[7,1,8,8] W) => (float[N,7] y) {
        a = Conv(x, W)
        y = Flatten(a)}""",
    )
    refuses("evaluate", model, "--data", digits, *SIXTEENTHS, "--against", other, says=("10", "7"))


def test_a_model_that_is_no_classifier(refuses, digits, tmp_path):
    other = write(
        tmp_path / "other.onnx",
        "g (float[N,1,8,8] x, float[7,1,3,3] W) => (float[N,7,6,6] y) {y = Conv(x, W)}",
    )
    refuses("evaluate", other, "--data", digits, says=("other.onnx",))


def test_a_model_of_two_inputs(refuses, digits, tmp_path):
    other = write(
        tmp_path / "other.onnx",
        """g (float[N,1,8,8] x, float[N,7] b, float[7,1,8,8] W) => (float[N,7] y) {
        a = Conv(x, W)
        c = Flatten(a)
        y = Add(c, b)}""",
    )
    refuses("evaluate", other, "--data", digits, says=("2 data inputs",))


@pytest.mark.parametrize("kind", ["missing", "of another size", "of rank 2"])
def test_calibration_data_that_does_not_fit(refuses, model, tmp_path, kind):
    path = tmp_path / "data.npz"
    if kind != "missing":
        saved(path, **DATA[kind])
    refuses("prune", model, "--sparsity", "0.5", "--calibration", path, says=("data.npz",))


def test_calibration_data_is_looked_at_even_where_every_layer_has_its_gamma(refuses, tmp_path):
    path = write(
        tmp_path / "m.onnx",
        """g (float[1,3,8,8] x, float[6,3,3,3] W1, float[6] W2, float[6] W3, float[6] W4,
        float[2,6,3,3] W6, float[2] W7) => (float[1,2,4,4] y) <float[6] v = {1,1,1,1,1,1},
        float[2] u = {1,1}> {
        a = Conv(x, W1)
        b = BatchNormalization(a, W2, W3, W4, v)
        c = Conv(b, W6)
        y = BatchNormalization(c, W7, W7, W7, u)}""",
    )
    refuses("prune", path, *HALF, "--calibration", tmp_path / "none.npz", says=("none.npz",))


# ── verify ──────────────────────────────────────────────────────────────────────────────────────


def test_a_pair_is_verified(call, pair):
    result = call("verify", *pair)
    assert result.code == 0
    assert result.out.startswith("verified on ")


def test_values_changed_since_the_cut_are_told(call, pair):
    model, pruned = pair
    altered(pruned, pruned, lambda m: set_value(m, INNER, 5.0))
    result = call("verify", model, pruned)
    assert result.code == 0
    assert "structure verified" in result.out
    assert "1 tensors have other values" in result.out or "1 tensor has" in result.out


def drop_row(m: onnx.ModelProto) -> None:
    weight = tensor(m, INNER)
    array = numpy_helper.to_array(weight)[1:]
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))


TAMPERED = {
    "a row less": drop_row,
    "a node less": lambda m: m.graph.node.remove(node(m, "Relu")),
    "a node more": lambda m: m.graph.node.append(
        helper.make_node("Identity", [m.graph.output[0].name], ["more"])
    ),
    "another operator": lambda m: setattr(node(m, "Relu"), "op_type", "Sigmoid"),
    "another connection": lambda m: node(m, "Relu").input.__setitem__(0, m.graph.node[0].output[0]),
    "another stride": lambda m: next(
        a for a in node(m, "Conv").attribute if a.name == "strides"
    ).ints.__setitem__(0, 2),
    "a weight less": lambda m: m.graph.initializer.remove(tensor(m, INNER)),
    "another output": lambda m: setattr(m.graph.output[0], "name", m.graph.node[0].output[0]),
    "another epsilon": lambda m: next(
        a for a in node(m, "BatchNormalization").attribute if a.name == "epsilon"
    ).__setattr__("f", 0.5),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_pruned_file_of_another_structure(refuses, pair, kind):
    model, pruned = pair
    altered(pruned, pruned, TAMPERED[kind])
    refuses("verify", model, pruned)


def test_the_original_is_no_pruning_of_itself(refuses, pair):
    model, pruned = pair
    refuses("verify", model, model, "--report", pruned.with_name("small.report.json"))


def test_original_and_pruned_are_swapped(refuses, pair):
    model, pruned = pair
    report = pruned.with_name("small.report.json")
    refuses("verify", pruned, model, "--report", report, says=("sha256",))


def test_the_report_is_about_another_model(refuses, pair, demo, tmp_path):
    _, pruned = pair
    other = altered(demo, tmp_path / "other.onnx", lambda m: set_value(m, INNER, 5.0))
    refuses("verify", other, pruned, says=("sha256", "other.onnx"))


def test_there_is_no_report(refuses, pair):
    model, pruned = pair
    pruned.with_name("small.report.json").unlink()
    refuses("verify", model, pruned, says=("small.report.json", "No such file"))


@pytest.mark.parametrize(
    "settings",
    [
        {"include": 5},
        {"include": [3]},
        {"input_shapes": [["input", [1, "x"]]]},
        {"input_shapes": {"input": [1, 1, 8, 8]}},
        {"input_shapes": 3},
    ],
)
def test_a_report_with_settings_that_are_none(call, pair, settings):
    model, pruned = pair
    report = pruned.with_name("small.report.json")
    content = json.loads(report.read_text())
    content["settings"] |= settings
    report.write_text(json.dumps(content))
    result = call("verify", model, pruned)
    assert result.code in (1, 2), result.err
    assert len(result.err.splitlines()) == 1


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
