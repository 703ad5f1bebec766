"""A weight under several names is one weight: its readers are tied, and one tensor is left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, functions, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.analyzer.sharing import as_one
from reprune_onnx.pruner.earlier import read_report
from reprune_onnx.pruner.measure import cost
from reprune_onnx.runtime.ort import Session
from reprune_onnx.verification.files import verify

RNG = np.random.default_rng(5)
SETTINGS = rp.Settings(
    sparsity=0.5, recover="none", method="l1", allocation="uniform", residual="prune"
)


def twins(
    made: str, w: str, v: str, between: str = "{n}2 = Relu ({n}1)", first: str = "w", **more
) -> rp.Model:
    """An encoder of two Convs on ``a``, and on ``b`` with the weights ``w`` and ``v``."""
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    twins (float[n,3,9,9] a, float[n,3,9,9] b) => (float[n,1,1,1] y) {{
      {made}
      a1 = Conv (a, {first})
      {between.format(n="a", k="")}
      a3 = Conv (a2, v)
      b1 = Conv (b, {w})
      {between.format(n="b", k="_b")}
      b3 = Conv (b2, {v})
      ab = Mul (a3, b3)
      y = ReduceSum (ab, axes)
    }}"""
    weights = {"w": RNG.normal(size=(12, 3, 3, 3)), "v": RNG.normal(size=(6, 12, 3, 3))}
    return rp.Model(model(text, axes=np.array([1, 2, 3]), **weights, **more))


def with_constant_nodes(source: rp.Model) -> rp.Model:
    """The same file with its weights as outputs of Constant nodes."""
    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in proto.graph.initializer]
    nodes += source.proto.graph.node
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return rp.Model(proto)


STANDARDISED = """m1 = ReduceMean <axes = [1, 2, 3]> (w)
 s1 = Sub (w, m1)
 w0 = Identity (w)
 m2 = ReduceMean <axes = [1, 2, 3]> (w0)
 s2 = Sub (w0, m2)
 v2 = Identity (v)"""
IDENTITY = twins("w2 = Identity (w)\n v2 = Identity (v)", "w2", "v2")
WAYS = {
    "by name": twins("", "w", "v"),
    "Identity": IDENTITY,
    "chains": twins(
        "p = Identity (w)\n q = Identity (p)\n w2 = Identity (q)\n v2 = Identity (v)", "w2", "v2"
    ),
    "Constant nodes": with_constant_nodes(IDENTITY),
    "computed twice": twins(STANDARDISED, "s2", "v2", first="s1"),
}


def branches(proto: onnx.ModelProto) -> tuple[np.ndarray, np.ndarray]:
    """What the two encoders make of the same image."""
    more = onnx.ModelProto()
    more.CopyFrom(proto)
    del more.graph.output[:]
    more.graph.output.extend(onnx.ValueInfoProto(name=n) for n in ("a3", "b3"))
    x = np.random.default_rng(3).normal(size=(2, 3, 9, 9)).astype(np.float32)
    made = Session(more, optimize=False).run({"a": x, "b": x})
    return made["a3"], made["b3"]


@pytest.mark.parametrize("way", WAYS)
def test_two_branches_stay_one_encoder(way: str) -> None:
    result = rp.prune(WAYS[way], SETTINGS)

    onnx.checker.check_model(result.model.proto, full_check=True)
    a, b = branches(result.model.proto)
    np.testing.assert_array_equal(a, b)
    assert [layer["out_channels"] for layer in result.report["layers"]][::2] == [[12, 6], [12, 6]]
    assert result.report["after"]["params"] * 2 == result.report["before"]["params"]
    assert {n.op_type for n in result.model.proto.graph.node} <= {
        *("Constant", "Conv", "Relu", "Mul", "ReduceSum")
    }


def test_as_other_names_they_would_become_two_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control, and what version 0.1 did."""
    monkeypatch.setattr(functions, "as_one", lambda model: model)
    monkeypatch.setattr(Graph, "origin", lambda graph, name: name)
    result = rp.prune(IDENTITY, rp.Settings(sparsity=0.5, recover="none", method="random"))
    a, b = branches(result.model.proto)
    assert np.abs(a - b).max() > 0.1


def n_params(proto: onnx.ModelProto) -> int:
    graph = graph_of(proto)
    return cost(graph, channels_of(graph, rp.Scope())).params


def test_a_shared_weight_counts_once_and_a_target_of_parameters_is_reached() -> None:
    assert {n_params(WAYS[way]) for way in ("by name", "Identity", "chains")} == {12 * 27 + 6 * 108}
    result = rp.prune(IDENTITY, rp.Settings(params_reduction=0.25, recover="none"))
    assert result.report["achieved"]["params_reduction"] == pytest.approx(0.25, abs=1e-9)


NORMALIZED = "{n}2 = BatchNormalization ({n}1, g{k}, s{k}, m{k}, var{k})"
PARAMETERS = {
    "g": RNG.uniform(0.5, 1.5, 12),
    "s": RNG.normal(size=12),
    "m": RNG.normal(size=12),
    "var": RNG.uniform(0.5, 1.5, 12),
}
COPIES = "\n".join(f"{p}_b = Identity ({p})" for p in ("w", "v", *PARAMETERS))


def test_normalizations_of_one_encoder_stay_one() -> None:
    twin = twins(COPIES, "w_b", "v_b", NORMALIZED, **PARAMETERS)
    result = rp.prune(twin, SETTINGS)
    a, b = branches(result.model.proto)
    np.testing.assert_array_equal(a, b)
    left = {t.name: list(t.dims) for t in result.model.proto.graph.initializer}
    assert left == {
        **{name: [6] for name in PARAMETERS},
        **{"axes": [3], "w": [6, 3, 3, 3], "v": [6, 6, 3, 3]},
    }
    assert result.report["after"]["params"] * 2 == result.report["before"]["params"]
    assert n_params(twin) == result.report["before"]["params"]


UNTRAINED = """<ir_version: 8, opset_import: ["": 17]>
    net (float[n,3,6,6] x) => (float[n,6,1,1] y) {
      s = Identity (one)
      b = Identity (zero)
      m = Identity (b)
      v = Identity (one)
      a1 = Conv (x, a_w)
      a2 = BatchNormalization (a1, one, zero, m, v)
      a3 = Relu (a2)
      b1 = Conv (a3, b_w)
      b2 = BatchNormalization (b1, s, b, m, v)
      b3 = Conv (b2, c_w)
      y = GlobalAveragePool (b3)
    }"""


def untrained() -> rp.Model:
    weights = {"a_w": (6, 3, 3, 3), "b_w": (6, 6, 3, 3), "c_w": (6, 6, 1, 1)}
    return rp.Model(
        model(
            UNTRAINED,
            one=np.ones(6),
            zero=np.zeros(6),
            **{k: RNG.normal(size=shape) for k, shape in weights.items()},
        )
    )


def cut_to(source: rp.Model, tmp_path: Path, cuts: dict[str, list[int]]) -> rp.Pruned:
    path = tmp_path / "keep.json"
    listed = [{"initializer": n, "axis": 0, "keep": k} for n, k in cuts.items()]
    path.write_text(json.dumps({"cuts": listed}))
    return rp.prune(source, rp.Settings(recover="none", keep=path))


@pytest.mark.parametrize(
    ("cuts", "params"),
    [
        ({"a_w": [0, 2], "b_w": [1, 2, 3]}, 2 * 27 + 3 * 18 + 6 * 3 + 4 * 2 + 4 * 3),
        ({"a_w": [0, 2], "b_w": [0, 2]}, 2 * 27 + 2 * 18 + 6 * 2 + 2 * 2),
        ({"a_w": [0, 2]}, 2 * 27 + 6 * 18 + 6 * 6 + 4 * 2 + 2 * 6),
    ],
    ids=["apart", "alike", "one"],
)
def test_what_an_exporter_merged_ties_no_layers(tmp_path: Path, cuts, params: int) -> None:
    """Layers that were never trained have equal normalizations, which training makes differ."""
    result = cut_to(untrained(), tmp_path, cuts)
    onnx.checker.check_model(result.model.proto, full_check=True)
    widths = {layer["node"]: layer["out_channels"][1] for layer in result.report["layers"]}
    assert list(widths.values())[:2] == [len(cuts.get(w, range(6))) for w in ("a_w", "b_w")]
    assert result.report["after"]["params"] == params


@pytest.mark.parametrize("way", [*WAYS, "normalized"])
def test_the_report_says_which_pair_it_is_about(tmp_path: Path, way: str) -> None:
    """Also where the file's own tensor is read through Identity only."""
    source = WAYS.get(way) or twins(
        COPIES + "\ng_a = Identity (g)",
        "w_b",
        "v_b",
        NORMALIZED.replace("g{k}", "g_{n}"),
        **PARAMETERS,
    )
    result = rp.prune(source, SETTINGS)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(result.report))
    proof = verify(source, result.model, read_report(path))
    assert proof.result is not None and proof.result.passed
    uncut = rp.prune(source, rp.Settings(sparsity=0.0, recover="none"))
    path.write_text(json.dumps(uncut.report))
    assert verify(source, uncut.model, read_report(path)).changed == 0


def test_a_copy_that_is_an_output_or_read_in_a_body_stays() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    net (float[n,3,6,6] x, bool flag) => (float[n,2,2,2] y, float[6,3,3,3] copy, float[] z) {
      copy = Identity (w)
      inner = Identity (w)
      a = Conv (x, copy)
      b = Conv (x, inner)
      c = Add (a, b)
      y = Conv (c, v)
      z = If (flag) <then_branch = yes () => (float[] s) { s = ReduceSum <keepdims = 0> (inner) },
                     else_branch = no () => (float[] t) { t = ReduceMax <keepdims = 0> (inner) }>
    }"""
    weights = {"w": RNG.normal(size=(6, 3, 3, 3)), "v": RNG.normal(size=(2, 6, 3, 3))}
    source = rp.Model(model(text, **weights))
    result = rp.prune(source, SETTINGS)
    feeds = {"x": np.ones((1, 3, 6, 6), np.float32), "flag": np.array(True)}
    before, after = (
        Session(p, optimize=False).run(feeds) for p in (source.proto, result.model.proto)
    )
    np.testing.assert_array_equal(before["copy"], after["copy"])
    np.testing.assert_array_equal(before["z"], after["z"])
    assert [layer["out_channels"] for layer in result.report["layers"]][:2] == [[6, 3], [6, 3]]


def test_what_shares_nothing_is_the_model_itself() -> None:
    same = twins("", "w", "v")
    assert as_one(same) is same
    merged = untrained()
    assert as_one(merged) is merged
