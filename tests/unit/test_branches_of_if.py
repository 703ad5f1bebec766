"""Layers in branches of If: cut, exact for both values of the condition, and proven by running."""

from __future__ import annotations

from typing import Any

import branches_oracle as oracle
import numpy as np
import onnx
import pytest
from text_graphs import model

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.errors import VerificationError
from reprune_onnx.results import CutNetwork
from reprune_onnx.settings import Settings
from reprune_onnx.verification.cut import check, verify_cut

HEAD = '<ir_version: 8, opset_import: ["" : 17{domain}]>'
OF = "(float[1,3,8,8] x, bool flag) => (float[1,4,8,8] y)"
TWO = """g {of} {{
  c = Conv (x, first)
  z = If (flag) <
    then_branch = yes () => (float[1,12,8,8] a) {{
      b = Conv (c, w1)  d = Relu (b)  a = Conv (d, w2) }},
    else_branch = no () => (float[1,12,8,8] e) {{
      f = Conv (c, v1)  h = Neg (f)  e = Conv (h, v2) }}>
  y = Conv (z, last)
}}"""
PASSED = """g {of} {{
  c = Conv (x, first)
  z = If (flag) <
    then_branch = yes () => (float[1,12,8,8] a) {{
      b = Conv (c, w1)  d = Relu (b)  a = Conv (d, w2) }},
    else_branch = no () => (float[1,12,8,8] e) {{ e = Identity (c) }}>
  y = Conv (z, last)
}}"""
NESTED = """g {of} {{
  m = ReduceMean <keepdims = 0> (x)
  low = Less (m, zero)
  y = If (flag) <
    then_branch = yes () => (float[1,4,8,8] a) {{
      b = Conv (x, w0)
      a = If (low) <
        then_branch = more () => (float[1,4,8,8] k) {{ k1 = Conv (b, w1)  k = Conv (k1, w4) }},
        else_branch = less () => (float[1,4,8,8] l) {{ l = Conv (b, w3) }}> }},
    else_branch = no () => (float[1,4,8,8] e) {{ f = Conv (x, first)  e = Conv (f, last) }}>
}}"""
rng = np.random.default_rng(0)


def weight(n_out: int, n_in: int, side: int = 1) -> np.ndarray:
    return rng.standard_normal((n_out, n_in, side, side)).astype(np.float32)


WEIGHTS = {
    "first": weight(12, 3),
    "w0": weight(12, 3),
    "w1": weight(10, 12),
    "w2": weight(12, 10),
    "w3": weight(4, 12),
    "w4": weight(4, 10),
    "v1": weight(7, 12),
    "v2": weight(12, 7),
    "last": weight(4, 12),
    "zero": np.float32(0),
}


def graph(text: str, domain: str = "", **weights: Any) -> onnx.ModelProto:
    """The text's graph, with those of the weights that it names."""
    source = HEAD.format(domain=domain) + text.format(of=OF)
    weights = {k: v for k, v in (WEIGHTS | weights).items() if f"{k})" in text or f"{k}," in text}
    return model(source, **weights)


def moved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same, where each constant that one branch alone reads stands in that branch."""
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                read = {name for inner in attribute.g.node for name in inner.input}
                for t in [t for t in proto.graph.initializer if t.name in read]:
                    attribute.g.initializer.append(t)
                    proto.graph.initializer.remove(t)
    return proto


HALF: dict[str, Any] = {"sparsity": 0.5, "allocation": "uniform", "recover": "none"}


def exact(proto: onnx.ModelProto, n_cut: int, **settings: Any) -> dict[str, Any]:
    """Prune half; for both values of the flag, the result is the masked original, and not it."""
    before = proto.SerializeToString(deterministic=True)
    result = rp.prune(rp.Model(proto), Settings(**(HALF | settings)))
    report: Any = result.report
    pruned = result.model.proto
    onnx.checker.check_model(pruned, full_check=True)
    assert proto.SerializeToString(deterministic=True) == before
    assert len({c["initializer"] for c in report["cuts"]}) == n_cut
    assert oracle.structure(pruned.graph) == oracle.structure(proto.graph)
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    seen = []
    for flag in (True, False):
        for sign in (1, -1):
            expected = oracle.run(oracle.masked(proto, report), x=sign * x, flag=flag)
            outputs = oracle.run(pruned, x=sign * x, flag=flag)
            assert oracle.difference(expected, outputs) < 1e-5
            seen.append(oracle.difference(oracle.run(proto, x=sign * x, flag=flag), outputs) > 1e-2)
    assert any(seen)
    return report


@pytest.mark.parametrize("place", [moved, lambda proto: proto], ids=["inside", "captured"])
@pytest.mark.parametrize(
    ("text", "n_cut", "branches"), [(TWO, 6, 2), (PASSED, 4, 1), (NESTED, 6, 4)]
)
def test_both_branches_are_cut_exactly(place: Any, text: str, n_cut: int, branches: int) -> None:
    report = exact(place(graph(text)), n_cut)

    assert len(report["verification"]["branches"]) == branches


def test_what_both_branches_make_is_one_and_followed_outside() -> None:
    report = exact(graph(TWO), 6)

    cuts = {c["initializer"]: c["keep"] for c in report["cuts"] if c["axis"] == 0}
    assert cuts["w2"] == cuts["v2"]
    assert (len(cuts["w1"]), len(cuts["v1"])) == (5, 4)  # each has a width of its own
    assert {c["initializer"] for c in report["cuts"] if c["axis"] == 1} == {
        *("w1", "v1", "w2", "v2", "last")
    }


def test_channels_of_other_shapes_stay_with_the_reason() -> None:
    unlike = TWO.replace("e = Conv (h, v2)", "t = Conv (h, v2)  e = Flatten (t)")
    unlike = unlike.replace("float[1,12,8,8] e", "float[1,768] e").replace(
        "y = Conv (z, last)", "r = Reshape (z, to)  y = Conv (r, last)"
    )
    report = exact(graph(unlike, to=np.array([1, 12, 8, 8])), 5)
    (reason,) = {k["reason"] for k in report["locked"] if "branches of" in k["reason"]}
    assert reason.endswith("give other shapes (1×12×8×8 and 1×768)")


def test_equal_names_in_both_branches_and_around() -> None:
    text = TWO.replace("(c, v1)", "(c, w)").replace("(h, v2)", "(d, v)")
    text = (
        text.replace("(c, w1)", "(c, w)")
        .replace("(d, w2)", "(d, v)")
        .replace("h = Neg (f)", "d = Neg (f)")
    )
    proto = graph(text)
    bodies = [a.g for n in proto.graph.node for a in n.attribute if a.HasField("g")]
    for body, (first, second) in zip(bodies, (("w1", "w2"), ("v1", "v2")), strict=True):
        for name, values in (("w", first), ("v", second)):
            tensor = onnx.numpy_helper.from_array(WEIGHTS[values], name)
            body.initializer.append(tensor)

    report = exact(proto, 6)

    names = {c["initializer"] for c in report["cuts"]}
    assert {"z.then_branch/w", "z.else_branch/w", "z.then_branch/v", "z.else_branch/v"} < names


def test_weights_of_nodes_that_are_constants() -> None:
    proto = graph(TWO)
    stored = {t.name: t for t in proto.graph.initializer}
    for body in (a.g for n in proto.graph.node for a in n.attribute if a.HasField("g")):
        read = [n.input[1] for n in body.node if n.op_type == "Conv"]
        nodes = [onnx.helper.make_node("Constant", [], [name], value=stored[name]) for name in read]
        for name in read:
            proto.graph.initializer.remove(stored[name])
        kept = list(body.node)
        del body.node[:]
        body.node.extend([*nodes, *kept])

    exact(proto, 6)


def test_a_weight_that_both_branches_and_the_graph_read() -> None:
    text = TWO.replace("(c, v1)", "(c, w1)").replace("(h, v2)", "(h, w2)")
    text = text.replace("y = Conv (z, last)", "s = Conv (z, w1)  y = Conv (s, again)")

    report = exact(graph(text, again=weight(4, 10)), 4)

    by_name = {(c["initializer"], c["axis"]): c["keep"] for c in report["cuts"]}
    assert len(by_name["w1", 0]) == 5
    assert by_name["w1", 0] == by_name["w2", 1]


SHARED = TWO.replace("b = Conv (c, w1)", "i = Identity (w1)  b = Conv (c, i)").replace(
    "y = Conv (z, last)",
    "q = Conv (c, {outside})  r = Relu (q)  s = Conv (r, v3)  t = Add (s, z)  y = Conv (t, last)",
)


@pytest.mark.parametrize(("outside", "together"), [("w1", True), ("other", False)])
def test_a_copy_by_identity_in_a_branch_is_the_same_weight(outside: str, together: bool) -> None:
    """Two layers with one weight are tied; with equal values under another name they are not."""
    text = SHARED.replace("{outside}", outside)
    more = {"v3": weight(12, 10)} | ({} if together else {"other": WEIGHTS["w1"]})
    proto = graph(text, **more)

    layers = {x.weight: x for x in rp.analyze(rp.Model(proto)).layers}
    report: Any = rp.prune(rp.Model(proto), Settings(**HALF)).report

    inside, main = layers["z.then_branch/i"], layers[outside]
    assert np.array_equal(inside.out_ids, main.out_ids) is together
    cut = [c["initializer"] for c in report["cuts"] if c["axis"] == 0]
    assert cut.count("w1") == 1
    assert not any("pruned" in name or name.endswith("/i") for name in cut)


def test_a_local_function_called_in_a_branch() -> None:
    text = TWO.replace("d = Relu (b)", "d = own.twice (b)")
    source = HEAD.format(domain=', "own" : 1') + text.format(of=OF)
    source += (
        '<domain: "own", opset_import: ["" : 17]> twice (p) => (q) { r = Relu (p)  q = Add (r, p) }'
    )
    named = {k: v for k, v in WEIGHTS.items() if f"{k})" in text}
    proto = model(source, **named)

    result = rp.prune(rp.Model(proto), Settings(**HALF))

    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    for flag in (True, False):
        expected = oracle.run(oracle.masked(proto, result.report), x=x, flag=flag)
        outputs = oracle.run(result.model.proto, x=x, flag=flag)
        assert oracle.difference(expected, outputs) < 1e-5


@pytest.mark.parametrize("text", [TWO, PASSED, NESTED])
def test_a_wrong_cut_in_any_branch_is_caught(text: str) -> None:
    """Each branch by itself: one weight in it is turned, so that other rows than kept are left."""
    proto = moved(graph(text))
    result = rp.prune(rp.Model(proto), Settings(**HALF, verify=False))
    opened = graph_of(rp.Model(proto))
    channels = channels_of(opened, rp.Scope())
    report: Any = result.report
    keep = np.ones(channels.n_units, dtype=np.bool_)
    for cut in report["cuts"]:
        for site in channels.sites:
            if (site.tensor, site.axis) == (cut["initializer"], cut["axis"]):
                keep[np.delete(site.ids, cut["keep"])] = False
    check(verify_cut(CutNetwork(opened, channels, keep, result.model)))
    inside = [
        c["initializer"] for c in report["cuts"] if c["axis"] == 1 and "branch/" in c["initializer"]
    ]
    assert inside
    for name in inside:
        wrong = onnx.ModelProto()
        wrong.CopyFrom(result.model.proto)
        stored = oracle.tensor(wrong, name)
        array = np.roll(onnx.numpy_helper.to_array(stored), 1, axis=1)
        stored.CopyFrom(onnx.numpy_helper.from_array(array, stored.name))
        with pytest.raises(VerificationError, match="differs from the masked original"):
            check(verify_cut(CutNetwork(opened, channels, keep, rp.Model(wrong))))
