"""Channels go from norms, means and extremes over channels: `--norm-statistics kept`.

Each form is written as the graph between two Conv layers. Pruned by hand, it is the same text with
shorter weights: a norm over n channels is the norm of the file.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from norm_forms import FORMS, Form, N
from ort_version import ort_is_older_than
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import resolve
from reprune_onnx.errors import VerificationError

RUN = [
    pytest.param(
        form,
        id=form.name,
        marks=pytest.mark.skipif(
            ort_is_older_than(form.since), reason=f"ONNX Runtime computes it since {form.since}"
        ),
    )
    for form in FORMS
]


def network(form: Form, kept: list[int] | None = None) -> onnx.ModelProto:
    """The form between a Conv of 8 channels, or those kept, and another."""
    rng = np.random.default_rng(4)
    weights: dict[str, Any] = {
        "stem_w": rng.standard_normal((N, 3, 3, 3)) / 5,
        "stem_b": rng.standard_normal(N),
        "head_w": rng.standard_normal((2, N, 1, 1)),
        **{name: rng.standard_normal(shape) for name, shape in form.scales.items()},
    }
    if kept is not None:
        for name, array in weights.items():
            weights[name] = array.take(kept, axis={"head_w": 1, "places": 2}.get(name, 0))
    proto = model(
        f"""<ir_version: 10, opset_import: ["" : {form.opset}, "com.microsoft" : 1]>
        net (float[2,3,4,4] x) => (float[2,2,4,4] y) {{
          s = Conv <pads = [1,1,1,1]> (x, stem_w, stem_b)
          {form.body}
          y = Conv (n, head_w)
        }}""",
        **weights,
        **form.arrays,
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def settings(**more: Any) -> rp.Settings:
    return rp.Settings(
        **{
            "sparsity": 0.4,
            "method": "l1",
            "recover": "none",
            "allocation": "uniform",
            "norm_statistics": "kept",
        }
        | more
    )


def outputs(proto: onnx.ModelProto) -> Any:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    return session.run(None, {"x": x})[0]


def rows(report: Any) -> list[int]:
    return next(c["keep"] for c in report["cuts"] if c["initializer"] == "stem_w")


@pytest.mark.parametrize("form", RUN)
def test_it_is_cut_as_a_person_would(form):
    original = network(form)
    result = rp.prune(rp.Model(original), settings())
    kept = rows(result.report)
    assert 1 < len(kept) < N
    by_hand = network(form, kept)
    assert list(result.model.proto.graph.node) == list(original.graph.node)
    np.testing.assert_allclose(outputs(result.model.proto), outputs(by_hand), rtol=1e-5, atol=1e-6)
    proof = result.report["verification"]
    assert proof["passed"]
    assert proof["max_abs_diff"] <= 1e-5 * proof["scale"]
    assert proof["negative_control"] >= 1e-2 * proof["scale"]
    (note,) = result.report["notes"]
    assert note.startswith(f"{form.statistics} node{'s' * (form.statistics > 1)}, such as ")


@pytest.mark.parametrize("form", RUN)
def test_a_proof_over_all_channels_would_fail(form, monkeypatch):
    """The negative control: a masked original whose statistics are not those of the cut."""
    monkeypatch.setattr(resolve, "statistics", lambda *_: ())
    with pytest.raises(VerificationError):
        rp.prune(rp.Model(network(form)), settings())


@pytest.mark.parametrize("form", RUN)
def test_locked_nothing_goes_and_the_lock_names_the_option(form):
    channels = rp.analyze(rp.Model(network(form)))
    (stem, *_) = channels.groups
    assert not stem.free.any()
    reasons = {lock.reason for lock in channels.locks if set(stem.units) & set(lock.ids)}
    assert any("(--norm-statistics lock)" in reason for reason in reasons), reasons


def test_the_report_of_a_pruning_proves_it_again(call, tmp_path):
    file, out = tmp_path / "net.onnx", tmp_path / "small.onnx"
    onnx.save(network(FORMS[0]), file)
    how = ("--sparsity", "0.4", "--norm-statistics", "kept", "--allocation", "uniform")
    result = call("prune", file, *how, "-o", out)
    assert result.code == 0, result.err
    assert "over the channels that are left" in result.out
    report = json.loads((tmp_path / "small.report.json").read_text())
    assert report["settings"]["norm_statistics"] == "kept"
    assert call("verify", file, out).code == 0


def test_left_open_they_are_kept_where_coupled_layers_are_pruned():
    model = rp.Model(network(FORMS[0]))
    assert rp.analyze(model, rp.Scope(residual="prune")).statistics
    for scope in (rp.Scope(), rp.Scope("inner"), rp.Scope("prune", norm_statistics="lock")):
        assert not rp.analyze(model, scope).statistics
    settings = rp.Settings(sparsity=0.4, method="l1", recover="none", residual="prune")
    assert len(rows(rp.prune(model, settings).report)) < N


@pytest.mark.parametrize("scope", [rp.Scope("prune"), rp.Scope("prune", norm_statistics="kept")])
def test_a_sum_is_over_fewer_channels_only_where_that_is_asked_for(scope):
    """A sum of fewer is smaller: of two encoders' products it tells how alike two images are."""
    form = replace(FORMS[0], body="m = ReduceSum (s, channel)  n = Mul (s, m)", scales={})
    form = replace(form, arrays={"channel": np.array([1], np.int64)})
    channels = rp.analyze(rp.Model(network(form)), scope)
    assert bool(channels.statistics) == (scope.norm_statistics == "kept")


def test_analyze_knows_the_option(call, tmp_path):
    file = tmp_path / "net.onnx"
    onnx.save(network(FORMS[4]), file)
    locked = call("analyze", file)
    kept = call("analyze", file, "--norm-statistics", "kept", "--json", "-")
    assert locked.code == 1 or "0 of" in locked.out
    assert json.loads(kept.out)["summary"]["prunable_layers"] == 1


def test_open_sizes_are_proven_at_two():
    form = FORMS[0]
    proto = network(form)
    for value in (proto.graph.input[0], proto.graph.output[0]):
        for k in (0, 2, 3):
            value.type.tensor_type.shape.dim[k].dim_param = f"n{k}"
    del proto.graph.value_info[:]
    result = rp.prune(rp.Model(proto), settings(input_shapes=(("x", (2, 3, 4, 4)),)))
    assert result.report["verification"]["passed"]
    assert result.report["verification"]["runs"] > 1


def test_channels_that_lie_along_two_axes_stay():
    """A norm over each of two groups of channels: which slots go, its one axis cannot say."""
    form = replace(
        FORMS[0],
        body="""r = Reshape (s, apart)
        m = ReduceMean <axes = [2]> (r)
        d = Sub (r, m)
        n = Reshape (d, together)""",
        scales={},
        arrays={
            "apart": np.array([2, 2, 4, 4, 4], np.int64),
            "together": np.array([2, 8, 4, 4], np.int64),
        },
    )
    channels = rp.analyze(rp.Model(network(form)), rp.Scope(norm_statistics="kept"))
    assert not channels.statistics
    result = rp.prune(rp.Model(network(form)), settings(sparsity=0.5))
    assert rows(result.report) in ([0, 1, 2, 3], [4, 5, 6, 7])  # whole groups


def test_a_computed_scale_keeps_the_channels():
    form = replace(
        FORMS[0],
        body="""p = ReduceMean <axes = [0,2,3], keepdims = 0> (x)
        scale = MatMul (p, scale_w)
        t = Transpose <perm = [0,2,3,1]> (s)
        u = LayerNormalization <axis = -1> (t, scale)
        n = Transpose <perm = [0,3,1,2]> (u)""",
        scales={},
        arrays={"scale_w": np.ones((3, N))},
    )
    channels = rp.analyze(rp.Model(network(form)), rp.Scope(norm_statistics="kept"))
    assert not any(g.free.any() for g in channels.groups)
    assert not channels.statistics


def test_maps_one_behind_the_other_pass_a_norm_with_tied_channels():
    form = replace(
        FORMS[0],
        body="""q = Conv <pads = [1,1,1,1]> (x, other_w)
        t = Transpose <perm = [0,2,3,1]> (s)  p = Transpose <perm = [0,2,3,1]> (q)
        c = Concat <axis = 1> (t, p)  u = LayerNormalization <axis = -1> (c, scale, bias)
        v = Transpose <perm = [0,3,1,2]> (u)  n, m = Split <axis = 2> (v, halves)""",
        arrays={
            "other_w": np.random.default_rng(2).standard_normal((N, 3, 3, 3)),
            "halves": np.array([4, 4], np.int64),
        },
    )
    result = rp.prune(rp.Model(network(form)), settings())
    assert len(rows(result.report)) < N
    kept = {c["initializer"]: c["keep"] for c in result.report["cuts"] if c["axis"] == 0}
    assert kept["other_w"] == kept["stem_w"] == kept["scale"]
    assert result.report["verification"]["passed"]
