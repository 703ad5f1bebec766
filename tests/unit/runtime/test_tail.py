"""Operators at a model's end that ONNX Runtime lacks: cut off, run without, and put back."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from reprune_onnx import prune
from reprune_onnx.errors import KernelError, VerificationError
from reprune_onnx.model import load
from reprune_onnx.runtime.ort import Session
from reprune_onnx.runtime.tail import find_tail, head_of
from reprune_onnx.settings import Settings
from reprune_onnx.types import Model
from tests.text_graphs import model as parsed

RNG = np.random.default_rng(0)
HALF = Settings(sparsity=0.5, recover="none", allocation="uniform")

EFFICIENT = """
    r = Reshape (c2, to_rows)
    t = Transpose <perm=[0, 2, 1]> (r)
    boxes, scores = Split <axis=2> (t, four_two)
    num, box, score, kind = {domain}EfficientNMS_TRT <plugin_version="1", score_threshold=0.25,
        background_class=-1, max_output_boxes=10> (boxes, scores)
"""
NMS_OUT = "int32[1, 1] num, float[1, 10, 4] box, float[1, 10] score, int32[1, 10] kind"
DELEGATE = 'a = com.foo.Delegate <mode="fast", sizes=[1, 2]> (c2, extra)\n'


def network(tail, outputs, opset=17, imports="", **more):
    """x -> Conv, Relu, Conv (h), Relu, Conv (c2, of 6 channels) -> ``tail``."""
    text = f"""<ir_version: 8, opset_import: ["" : {opset}{imports}]>
    net (float[1, 3, 8, 8] x) => ({outputs}) {{
        c0 = Conv <pads=[1, 1, 1, 1]> (x, w0)
        r0 = Relu (c0)
        c1 = Conv (r0, w1)
        h = Relu (c1)
        c2 = Conv (h, w2)
        {tail}
    }}"""
    weights = {
        "w0": RNG.standard_normal((8, 3, 3, 3)),
        "w1": RNG.standard_normal((8, 8, 1, 1)),
        "w2": RNG.standard_normal((6, 8, 1, 1)),
        "to_rows": np.array([1, 6, 64]),
        "four_two": np.array([4, 2]),
        "extra": RNG.standard_normal((2, 3)),
    }
    return Model(parsed(text, **{k: v for k, v in weights.items() if k in text}, **more))


def efficient(domain="", imports=""):
    return network(EFFICIENT.format(domain=domain), NMS_OUT, imports=imports)


TAILS = {
    "a plugin in the domain of ONNX": (efficient(), {"boxes", "scores"}),
    "a plugin in a domain": (efficient("trt.", ', "trt" : 1'), {"boxes", "scores"}),
    "a plugin in a domain of version 0": (efficient("trt.", ', "trt" : 0'), {"boxes", "scores"}),
    "a plugin in a domain that is not stated": (efficient("trt."), {"boxes", "scores"}),
    "an op of one's own, with a constant": (
        network(DELEGATE + "y = Relu (a)", "float[N] y", imports=', "com.foo" : 1'),
        {"c2"},
    ),
    "two tails, and an output of the head": (
        network(
            EFFICIENT.format(domain="") + "m = Sigmoid (c2)\n k = Constant <value_int=3> ()\n"
            " y = com.foo.Count (m, k)",
            f"float[1, 6, 8, 8] m, {NMS_OUT}, int64[1] y",
            imports=', "com.foo" : 2',
        ),
        {"boxes", "scores", "m"},
    ),
    "known ops behind, which read the head too": (
        network(
            "a, i = com.foo.Best (c2)\n g = Gather <axis=1> (h, i)\n y = Identity (g)",
            "float[N] a, float[M] y",
            imports=', "com.foo" : 1',
        ),
        {"c2", "h"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "entering"), TAILS.values(), ids=TAILS)
def test_a_head_runs_and_the_tail_goes_back_as_it_was(model, entering):
    tail = find_tail(model)
    assert set(tail.entering) == entering
    outputs = [o.name for o in tail.head.proto.graph.output]
    assert entering <= set(outputs)
    onnx.checker.check_model(tail.head.proto, full_check=True)
    values = Session(tail.head.proto, optimize=False).run({"x": np.ones((1, 3, 8, 8), np.float32)})
    assert {name: v.ndim for name, v in values.items()}.keys() == set(outputs)
    joined = tail.put_back(tail.head).proto
    before, after = model.proto.graph, joined.graph
    assert list(after.output) == list(before.output)
    assert list(after.input) == list(before.input)
    assert {n.output[0]: n for n in after.node} == {n.output[0]: n for n in before.node}
    assert {t.name for t in after.initializer} == {t.name for t in before.initializer}
    assert list(joined.opset_import) == list(model.proto.opset_import)


@pytest.mark.parametrize(
    ("body", "imports"),
    [
        ("y = Relu (c2)", ""),
        ("y = com.microsoft.Gelu (c2)", ', "com.microsoft" : 1'),
        ("y = com.microsoft.QuickGelu (c2)", ', "com.microsoft" : 1'),
        ("y = GroupNormalization <num_groups=2> (c2, s, s)", ""),
    ],
)
def test_what_onnx_runtime_has_is_no_tail(body, imports):
    model = network(body, "float[A, B, C, D] y", opset=21, imports=imports, s=np.ones(6))
    assert find_tail(model) is None
    assert head_of(model) is model


def test_an_op_before_layers_is_refused_with_both_names(tmp_path):
    model = network(
        "d = com.foo.Delegate (c2)\n y = Conv (d, w3)",
        "float[1, 2, 8, 8] y",
        imports=', "com.foo" : 1',
        w3=np.ones((2, 6, 1, 1)),
    )
    with pytest.raises(KernelError) as told:
        prune(model, HALF)
    assert "com.foo.Delegate 'd', and layers stand behind (Conv 'y')" in str(told.value)
    assert "--custom-ops LIB" in str(told.value)
    unproven = prune(model, replace(HALF, verify=False))
    assert unproven.model.proto.graph.node[5].op_type == "Delegate"


def test_where_nothing_stands_before_the_op_the_whole_model_is_asked_for():
    model = network("y = com.foo.Load (x)", "float[1] y", imports=', "com.foo" : 1')
    assert find_tail(model) is None
    with pytest.raises(VerificationError, match=r"com.foo:Load.* is not a registered"):
        prune(model, HALF)


def test_an_op_that_reads_nothing_of_the_head_is_left_out_of_it():
    text = """<ir_version: 8, opset_import: ["" : 17, "com.foo" : 1]>
    net (float[1, 3, 8, 8] x) => (float[1, 6, 8, 8] y, float[N] z) {
        c = Conv (x, w)  r = Relu (c)  y = Conv (r, v)  z = com.foo.Load (x) }"""
    weights = {"w": RNG.standard_normal((4, 3, 1, 1)), "v": RNG.standard_normal((6, 4, 1, 1))}
    done = prune(Model(parsed(text, **weights)), HALF)
    assert [n.op_type for n in done.model.proto.graph.node] == ["Conv", "Relu", "Conv", "Load"]
    assert done.report["after"]["channels"] < done.report["before"]["channels"]
    (note,) = [n for n in done.report["notes"] if "lacks" in n]
    assert note == (
        "ONNX Runtime lacks com.foo.Load 'z': the model is run without what needs it, and 1"
        " node behind stays as it is"
    )


def test_an_op_in_a_body_and_one_in_a_function():
    body = """
        t = ReduceMax <keepdims=0> (c2)
        z = Constant <value_float=0.0> ()
        b = Greater (t, z)
        y = If (b) <
            then_branch = then () => (float[1, 6, 8, 8] p) { p = com.foo.Delegate (c2) },
            else_branch = other () => (float[1, 6, 8, 8] q) { q = Identity (c2) }
        >"""
    model = network(body, "float[1, 6, 8, 8] y", imports=', "com.foo" : 1')
    assert set(find_tail(model).entering) == {"b", "c2"}
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1, "com.foo" : 1]>
    net (float[1, 3, 8, 8] x) => (float[N] y) { c = Conv (x, w)  y = local.End (c) }
    <domain: "local", opset_import: ["" : 17, "com.foo" : 1]>
    End (a) => (b) { r = Relu (a)  b = com.foo.Delegate (r) }"""
    tail = find_tail(Model(parsed(text, w=RNG.standard_normal((4, 3, 1, 1)))))
    assert [n.op_type for n in tail.head.proto.graph.node] == ["Conv", "Relu"]


@pytest.mark.parametrize("name", TAILS)
def test_a_model_is_pruned_up_to_its_tail_and_written_with_it(name):
    model, entering = TAILS[name]
    pruned = prune(model, HALF)
    assert pruned.report["verification"]["passed"]
    assert pruned.report["verification"]["negative_control"] > 0
    assert pruned.report["after"]["macs"] < pruned.report["before"]["macs"]
    (note,) = [n for n in pruned.report["notes"] if n.startswith("ONNX Runtime lacks")]
    assert all(f"'{tensor}'" in note for tensor in entering)
    before, after = ({n.output[0]: n for n in m.proto.graph.node} for m in (model, pruned.model))
    for output in set(before) - {"c0", "r0", "c1", "h", "c2"}:
        assert after[output] == before[output]
    weights = {t.name: list(t.dims) for t in pruned.model.proto.graph.initializer}
    assert weights["w1"][0] == (8 if "h" in entering else 4)
    assert weights["w2"][0] == 6, "what enters the tail keeps its channels"
    locked = {entry["reason"] for entry in pruned.report["locked"]}
    assert any(
        "which ONNX Runtime lacks" in reason or "behind com.foo" in reason for reason in locked
    )


def files(tmp_path, call, *more):
    model, small = tmp_path / "model.onnx", tmp_path / "small.onnx"
    onnx.save(efficient().proto, model)
    result = call("prune", model, "-o", small, "--sparsity", "0.5", *more)
    assert result.code == 0, result.err
    assert "ONNX Runtime lacks EfficientNMS_TRT 'num': the model is run up to" in result.out
    return model, small


def test_commands_do_without_the_tail_and_say_so(call, tmp_path):
    model, small = files(tmp_path, call, "--recover", "none")
    verified = call("verify", model, small)
    assert verified.code == 0, verified.err
    assert "ONNX Runtime lacks EfficientNMS_TRT" in verified.out
    assert "verified on" in verified.out
    data, better = tmp_path / "x.npz", tmp_path / "better.onnx"
    np.savez(data, x=RNG.standard_normal((64, 3, 8, 8)).astype(np.float32))
    how = (
        "--report",
        tmp_path / "small.report.json",
        "--calibration",
        data,
        "--preprocess",
        "none",
    )
    recovered = call("recover", model, small, "-o", better, *how)
    assert recovered.code == 0, recovered.err
    assert load(better).proto.graph.node[-1].op_type == "EfficientNMS_TRT"
    assert call("verify", model, better).code == 0
    other = onnx.load(small)
    other.graph.node[-1].attribute[1].f = 0.5
    onnx.save(other, small)
    wrong = call("verify", model, small)
    assert wrong.code == 1, "the tail is part of what is verified"
    assert "EfficientNMS_TRT" in wrong.err


def test_calibrated_pruning_runs_up_to_the_tail(call, tmp_path):
    data = tmp_path / "x.npz"
    np.savez(data, x=RNG.standard_normal((64, 3, 8, 8)).astype(np.float32))
    _, small = files(tmp_path, call, "--calibration", data, "--preprocess", "none")
    report = json.loads((tmp_path / "small.report.json").read_text())
    assert report["recovery"]["method"] == "least-squares"
    assert report["after"]["bytes"] == small.stat().st_size


def test_a_constant_that_both_read_is_the_tails_own():
    model = network("y = com.foo.Delegate (c2, w2)", "float[N] y", imports=', "com.foo" : 1')
    pruned = prune(model, HALF).model.proto
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in pruned.graph.initializer}
    read = pruned.graph.node[-1].input[1]
    assert weights[read].shape == (6, 8, 1, 1)
    assert weights[pruned.graph.node[4].input[1]].shape == (6, 4, 1, 1)


def classes():
    return network(
        "p = GlobalAveragePool (c2)\n f = Flatten (p)\n y = com.foo.Decide (f)",
        "int64[N] y",
        imports=', "com.foo" : 1',
    )


def test_evaluate_compares_what_enters_the_tail(call, tmp_path):
    model, data = tmp_path / "model.onnx", tmp_path / "x.npz"
    onnx.save(classes().proto, model)
    np.savez(data, x=RNG.standard_normal((16, 3, 8, 8)).astype(np.float32))
    how = ("--data", data, "--against", model, "--preprocess", "none")
    result = call("evaluate", model, *how, "--json", "-")
    assert json.loads(result.out)["agreement"] == 100
    assert "note: ONNX Runtime lacks com.foo.Decide" in call("evaluate", model, *how).out


def test_bench_measures_up_to_the_tail_and_says_so(call, tmp_path):
    model, small, out = (tmp_path / name for name in ("model.onnx", "small.onnx", "out.json"))
    onnx.save(classes().proto, model)
    assert call("prune", model, "-o", small, "--sparsity", "0.5", "--recover", "none").code == 0
    result = call("bench", model, small, "--batch-size", 1, "--seconds", 0.02, "--json", out)
    assert result.code == 0, result.err
    assert f"'{model}': ONNX Runtime lacks com.foo.Decide 'y'" in " ".join(result.out.split())
    stored = json.loads(out.read_text())
    assert [entry["verified"] for entry in stored["models"]] == [None, "cut"]
    assert len(stored["rows"]) == 2
    assert [note.count("run up to 'f'") for note in stored["notes"][:2]] == [1, 1]


def with_an_input_of_the_tail_alone():
    text = """<ir_version: 8, opset_import: ["" : 17, "com.foo" : 1]>
    net (float[N, 3, 8, 8] x, float[N, 2] sizes) => (int64[M] y) {
        c = Conv (x, w)
        r = Relu (c)
        d = Conv (r, v)
        p = GlobalAveragePool (d)
        f = Flatten (p)
        y = com.foo.Decide (f, sizes)
    }"""
    weights = {"w": RNG.standard_normal((8, 3, 3, 3)), "v": RNG.standard_normal((4, 8, 1, 1))}
    return Model(parsed(text, **weights))


def test_an_input_that_the_tail_alone_reads_is_none_of_the_heads(call, tmp_path):
    model, small, data = (tmp_path / n for n in ("model.onnx", "small.onnx", "x.npz"))
    like = with_an_input_of_the_tail_alone()
    onnx.save(like.proto, model)
    np.savez(data, x=RNG.standard_normal((32, 3, 8, 8)).astype(np.float32))
    images = ("--preprocess", "none")
    how = ("--sparsity", "0.5", "--calibration", data, *images)
    assert call("prune", model, "-o", small, *how).code == 0
    assert list(onnx.load(small).graph.input) == list(like.proto.graph.input)
    compared = call("evaluate", small, "--data", data, "--against", model, *images)
    assert compared.code == 0, compared.err
    target_file = tmp_path / "mine.toml"
    target_file.write_text(
        'precisions = ["fp32"]\nmultiples = {}\n[onnx]\nparser = "tensorrt-8.5"\n'
        'plugins = ["Decide"]\n[build]\nwith = "trtexec"\ntensorrt = "8.5"\n'
    )
    packed = call("bundle", small, "--target", target_file, "-o", tmp_path / "bundle")
    assert packed.code == 0, packed.err
    (entry,) = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["models"]
    assert [port["name"] for port in entry["inputs"]] == ["x", "sizes"]
    assert entry["outputs"] == []
