"""Opset 6 and older: what the copy in opset 7 computes, and files that keep their own opset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from cases_of_older_opsets import OLDER, OLDER_FIXED
from onnx import helper
from rule_graphs import Case, network, pruned
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.errors import ModelError
from reprune_onnx.runtime.older_opsets import OLDEST, raised
from reprune_onnx.runtime.ort import Session

RNG = np.random.default_rng(8)
X = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)


def computed(proto: onnx.ModelProto) -> np.ndarray:
    return Session(proto, optimize=False).run({"x": X})["y"]


COMPUTED = OLDER + OLDER_FIXED


@pytest.mark.parametrize(("case", "new"), COMPUTED, ids=[case.name for case, _ in COMPUTED])
def test_it_computes_what_opset_13_says(case: Case, new: str) -> None:
    old = network(case)
    before = old.SerializeToString()

    y = computed(old)

    assert old.SerializeToString() == before
    np.testing.assert_allclose(y, computed(network(replace(case, body=new, opset=13))), atol=1e-6)
    doubled = network(replace(case, body=new.replace("z = ", "half = ") + "\nz = Add (half, half)"))
    del doubled.opset_import[:]
    doubled.opset_import.append(helper.make_opsetid("", 13))
    assert not np.allclose(y, computed(doubled), atol=1e-3)  # the control: such a difference shows


@pytest.mark.parametrize(("case", "new"), OLDER[::4], ids=[case.name for case, _ in OLDER[::4]])
def test_the_written_file_keeps_its_opset_and_its_nodes(case: Case, new: str) -> None:
    del new
    old = network(case)
    out = pruned(old).model.proto
    assert [o.version for o in out.opset_import if not o.domain] == [case.opset]
    assert [n.op_type for n in out.graph.node] == [n.op_type for n in old.graph.node]
    onnx.checker.check_model(out)


WHOLE = """<ir_version: 3, opset_import: ["" : {opset}]>
g (float[1,3,8,8] x, float[{n},3,3,3] w, float[{n}] s, float[{n}] b, float[{n}] m, float[{n}] v,
   float[4,{n}] fc, float[4] row) => (float[1,4] y) {{
  [first] c = Conv <pads = [1,1,1,1]> (x, w)
  [norm] n = BatchNormalization <is_test = 1, spatial = 1{memory}> (c, s, b, m, v)
  [bound] r = Relu (n)
  [pool] g = GlobalAveragePool (r)
  [flat] f = Flatten (g)
  [head] y = Gemm <transB = 1, broadcast = 1> (f, fc, row)
}}"""


@pytest.mark.parametrize(("opset", "n"), [(1, 12), *((k, 8) for k in range(1, OLDEST))])
def test_a_whole_file_is_pruned_recovered_verified_and_measured(call, tmp_path, opset, n) -> None:
    """Weights are inputs too, as files of that time have them."""
    memory = ", consumed_inputs = [0,0,0,1,1]" if opset < 6 else ""
    shapes = {"w": (n, 3, 3, 3), "fc": (4, n), "row": (4,), "s": (n,), "b": (n,), "m": (n,)}
    weights = {k: RNG.standard_normal(s) for k, s in shapes.items()}
    proto = model(WHOLE.format(opset=opset, n=n, memory=memory), **weights, v=np.ones(n))
    source, out, data = tmp_path / "old.onnx", tmp_path / "small.onnx", tmp_path / "x.npz"
    onnx.save(proto, source)
    np.savez(data, x=RNG.standard_normal((40, 3, 8, 8)).astype(np.float32))
    how = ("--allocation", "uniform", "--calibration", data)
    result = call("prune", source, "-o", out, "--sparsity", "0.5", *how)
    assert result.code == 0, result.err
    assert "verified on" in result.out
    small = onnx.load(out)
    assert [o.version for o in small.opset_import] == [opset]
    assert {t.name: list(t.dims) for t in small.graph.initializer}["s"] == [n // 2]
    if opset in (1, 6):  # the ends of what is old
        assert call("verify", source, out).code == 0
        result = call("evaluate", out, "--data", data, "--against", source)
        assert result.code == 0, result.err
        wrong = tmp_path / "wrong.onnx"
        small.graph.initializer[0].CopyFrom(
            onnx.numpy_helper.from_array(np.zeros((3, 3, 3, 3), np.float32), "w")
        )
        onnx.save(small, wrong)
        report = tmp_path / "small.report.json"
        assert call("verify", source, wrong, "--report", report).code == 1


def test_a_file_is_timed_as_it_lies_there(call, tmp_path: Path) -> None:
    path = tmp_path / "old.onnx"
    onnx.save(network(OLDER[0][0]), path)
    assert Session(path, optimize=True).run({"x": X})["y"].shape == (1, 2, 8, 8)
    result = call("bench", path, "--batch-size", "1", "--seconds", "0.05")
    assert result.code == 0, result.err


def test_bodies_are_raised_too() -> None:
    body = (
        "m = ReduceMax <keepdims = 0> (x)\n q = Greater <broadcast = 1> (m, zero)\n"
        "z = If (q) <then_branch = yes () => (float[1,8,8,8] a) {"
        " a = Mul <broadcast = 1, axis = 1> (c, k) },"
        " else_branch = no () => (float[1,8,8,8] b) { b = Neg <consumed_inputs = [0]> (c) }>"
    )
    case = Case("", body, "float[8] k, float[1] zero = {0.0}", opset=6)
    branch = raised(network(case)).graph.node[4].attribute[0].g
    assert [n.op_type for n in branch.node] == ["Unsqueeze", "Mul"]
    assert computed(network(case)).shape == (1, 2, 8, 8)


def test_what_is_new_enough_is_not_copied() -> None:
    proto = network(Case("", "z = Relu (c)", opset=OLDEST))
    assert raised(proto) is proto


@pytest.mark.parametrize(
    ("body", "weights", "words"),
    [
        ("l = GlobalLpPool <p = 2.5> (c)\n z = Abs (l)", "", "the norm of p = 2.5"),
        (
            "u = other.Thing (c)\n z = Mul <broadcast = 1, axis = 1> (u, k)",
            "float[8] k",
            "does not tell how many axes",
        ),
        (
            "i = Cast <to = 6> (f)\n a, z = Split <axis = 1> (c, i)",
            "",
            "wants as a constant",
        ),
    ],
)
def test_what_opset_7_cannot_say_is_refused_with_the_node(body, weights, words) -> None:
    proto = network(Case("", body, weights, opset=1))
    del proto.graph.value_info[:]
    with pytest.raises(ModelError, match=words):
        raised(proto)
    with pytest.raises(rp.RepruneError):
        pruned(proto)
