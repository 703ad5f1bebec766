"""Branches of which no channel is left: what goes with them, and what stands in their place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
import text_graphs
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.analyzer import Scope, channels_of, graph_of
from reprune_onnx.analyzer.graph import Graph
from reprune_onnx.errors import SelectionError
from reprune_onnx.pruner.allocate.multilinear import multilinear
from reprune_onnx.pruner.earlier import keep_by_cuts
from reprune_onnx.pruner.measure import cost, parameters
from reprune_onnx.report.analysis import describe
from reprune_onnx.results import CutNetwork
from reprune_onnx.runtime.ort import Session
from reprune_onnx.surgeon import cut
from reprune_onnx.types import Bools, ChannelMap, Group, Model
from reprune_onnx.verification.cut import _Proof, verify_cut
from reprune_onnx.verification.fed_model import FedModel
from reprune_onnx.verification.masked import masked_original
from reprune_onnx.verification.views import views

RNG = np.random.default_rng(3)
HEAD = '<ir_version: 8, opset_import: ["" : 17]> '
NORM = {"g": RNG.uniform(0.5, 2, 6), "e": RNG.standard_normal(6), "u": RNG.uniform(0.5, 2, 6)}
SHAPES = {
    **{"stem": (6, 3, 3, 3), "w1": (8, 6, 3, 3), "w2": (6, 8, 3, 3), "b2": (6,)},
    **{"last": (4, 6, 1, 1), "dw": (8, 1, 3, 3), "w3": (10, 8, 1, 1), "w4": (6, 10, 1, 1)},
    **{"s1": (3, 6, 1, 1), "s2": (6, 3, 1, 1), "c2": (6,), "m1": (6, 9), "m2": (9, 6)},
    **{"scale": (6,), "mean": (6,), "r1": (3, 8, 1, 1), "r2": (8, 3, 1, 1), "d2": (8,)},
    **{"w5": (6, 8, 3, 3), "w7": (6, 14, 1, 1)},
}
STEM = "h = Conv <pads = [1,1,1,1]> (x, stem) t = Relu (h) "
ENDS = " y = Conv (z, last)"
SAME = "<pads = [1,1,1,1]>"
FIRST = f"a = Conv {SAME} (t, w1) p = Relu (a) "
BRANCHES = {
    "a residual branch": f"{FIRST} b = Conv {SAME} (p, w2, b2) s = Add (b, t) z = Relu (s)",
    "a norm behind it": f"{FIRST} b = Conv {SAME} (p, w2)"
    " n = BatchNormalization (b, g, e, mean, u) s = Add (t, n) z = Relu (s)",
    "an activation behind it": f"{FIRST} b = Conv {SAME} (p, w2, b2) k = Sigmoid (b)"
    " z = Mul (t, k)",
    "an inverted bottleneck": f"{FIRST} d = Conv <group = 8, pads = [1,1,1,1]> (p, dw) q = Clip (d)"
    f" b = Conv {SAME} (q, w2, b2) z = Add (b, t)",
    "a bottleneck": f"{FIRST} c = Conv (p, w3) q = Relu (c) b = Conv (q, w4, b2) s = Add (t, b)"
    " z = Relu (s)",
    "channels last": "i = Transpose <perm = [0,2,3,1]> (t) a = MatMul (i, m1) p = Relu (a)"
    " b = MatMul (p, m2) f = Add (b, b2) m = Mul (f, scale) o = Transpose <perm = [0,3,1,2]> (m)"
    " z = Add (t, o)",
    "squeeze and excitation": "a = GlobalAveragePool (t) c = Conv (a, s1) p = Relu (c)"
    " b = Conv (p, s2, c2) k = Sigmoid (b) z = Mul (t, k)",
    "two in one": f"{FIRST} v = GlobalAveragePool (p) c = Conv (v, r1) r = Relu (c)"
    f" f = Conv (r, r2, d2) k = Sigmoid (f) q = Mul (p, k) b = Conv {SAME} (q, w2, b2)"
    " z = Add (b, t)",
    "two layers that read it": f"{FIRST} b = Conv {SAME} (p, w2, b2) c = Conv {SAME} (p, w5)"
    " k = Sigmoid (c) i = Mul (t, k) z = Add (b, i)",
    "a norm over its channels": f"{FIRST} i = LpNormalization <axis = 1> (p)"
    f" b = Conv {SAME} (i, w2, b2) z = Add (b, t)",
    "a file of old": f"{FIRST} b = Conv {SAME} (p, w2, b2) s = Add (b, t) z = Relu (s)",
}
"""By what it is, a branch between t and z. In an old file all weights are inputs too."""

WHOLE = {
    "the output is given": f"{FIRST} z = Conv {SAME} (p, w2, b2)",
    "a layer reads the constant": f"{FIRST} z = Conv {SAME} (p, w2, b2)",
    "something reads one channel beside another": f"{FIRST} b = Conv {SAME} (p, w2, b2)"
    " i = Softmax <axis = 1> (b) z = Add (i, t)",
    "a pooled sum": f"{FIRST} b = Conv {SAME} (p, w2, b2) i = GlobalAveragePool (b)"
    " j = GlobalAveragePool (t) z = Add (i, j)",
    "more is read beside it": f"{FIRST} i = Concat <axis = 1> (p, t) c = Conv (i, w7)"
    " z = Add (c, t)",
    "it is larger than the rest": f"{FIRST} b = Conv {SAME} (p, w2, b2) i = GlobalAveragePool (t)"
    " z = Add (b, i)",
}
"""Why it stays, a branch of which one channel has to stay."""


def network(body: str, *, old: bool = False) -> Model:
    """A model of the nodes ``body`` between t and z, with weights for all that it reads."""
    text = f"{HEAD}g (float[n,3,9,9] x) => (float[n,c,a,b] y) {{ {STEM} {body} {ENDS} }}"
    proto = text_graphs.model(text)
    read = {name for node in proto.graph.node for name in node.input}
    arrays = {name: 0.3 * RNG.standard_normal(s) for name, s in SHAPES.items() if name in read}
    for name, array in (arrays | {k: v for k, v in NORM.items() if k in read}).items():
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
        if old:
            info = onnx.helper.make_tensor_value_info(name, 1, array.shape)
            proto.graph.input.append(info)
    proto.ir_version = 3 if old else 8
    onnx.checker.check_model(proto, full_check=True)
    return Model(proto)


@dataclass
class Prepared:
    model: Model
    graph: Graph
    channels: ChannelMap

    @classmethod
    def of(cls, model: Model, residual: str = "keep") -> Prepared:
        graph = graph_of(model)
        return cls(model, graph, channels_of(graph, Scope(residual=residual)))

    def group(self, maker: str) -> Group:
        """The group that the layer which makes a tensor makes."""
        node = self.graph.producer(maker)
        return next(
            g for g in self.channels.groups if node.index in {p.layer.node for p in g.producers}
        )

    def without(self, *groups: Group) -> Bools:
        keep = np.ones(self.channels.n_units, dtype=bool)
        for g in groups:
            for i in g.branch.groups:
                keep[self.channels.groups[i].units] = False
        return keep

    def cut(self, keep: Bools) -> CutNetwork:
        result = cut(self.model, self.graph, self.channels, keep)
        return CutNetwork(self.graph, self.channels, keep, result.model)


INNER = {"a bottleneck": "c", "squeeze and excitation": "c", "two in one": "a"}
"""The tensor that the closing group's layer makes, where it is not a."""


@pytest.fixture(params=BRANCHES)
def case(request) -> tuple[Prepared, Group]:
    model = network(BRANCHES[request.param], old=request.param == "a file of old")
    prepared = Prepared.of(model, "prune" if "norm over" in request.param else "keep")
    return prepared, prepared.group(INNER.get(request.param, "a"))


def test_the_file_without_a_branch_is_the_masked_original(case):
    prepared, group = case
    left = prepared.cut(prepared.without(group))
    proof = verify_cut(left)
    assert proof.passed
    assert proof.negative_control > 10 * proof.tolerance * proof.scale
    onnx.checker.check_model(left.pruned.proto, full_check=True)


def test_nothing_of_the_branch_is_left_but_constants(case):
    prepared, group = case
    keep = prepared.without(group)
    proto = prepared.cut(keep).pruned.proto
    gone = {prepared.graph.ops[k].result for k in group.branch.nodes}
    names = {name for node in proto.graph.node for name in node.output}
    before = {name for node in prepared.model.proto.graph.node for name in node.output}
    assert names == before - gone
    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    read = {name for node in proto.graph.node for name in node.input}
    assert stored.keys() == read - names - {"x"}
    assert set(group.branch.ends) == stored.keys() & gone
    assert all(stored[end].size == 6 for end in group.branch.ends)
    assert parameters(proto) == cost(prepared.graph, prepared.channels, keep).params


def test_what_a_branch_costs_is_what_goes_with_it(case):
    prepared, group = case
    graph, channels = prepared.graph, prepared.channels
    price = multilinear(graph, channels, channels.groups, "macs")
    full = np.array([g.n for g in channels.groups], dtype=float)
    none = np.where(np.arange(len(full)) == group.id, 0.0, full)
    left = cost(graph, channels, prepared.without(group))
    assert price(none) == left.macs
    values = np.arange(group.n + 1)
    along = price.along(group.id, full, values)
    each = [price(np.where(np.arange(len(full)) == group.id, k, full)) for k in values]
    np.testing.assert_allclose(along, each, rtol=1e-12)
    narrower = np.where(np.arange(len(full)) == group.id, full, np.ceil(full / 2))
    assert price(np.where(none == 0, 0.0, narrower)) <= price.along(group.id, narrower, values)[1]


def test_a_branch_within_a_branch_goes_alone_or_with_it():
    prepared = Prepared.of(network(BRANCHES["two in one"]))
    outer, inner = prepared.group("a"), prepared.group("c")
    assert inner.branch.nodes < outer.branch.nodes
    assert inner.id in outer.branch.groups
    for gone in ([inner], [outer], [inner, outer]):
        left = prepared.cut(prepared.without(*gone))
        assert verify_cut(left).passed
        branches = prepared.channels.branches_gone(left.keep)
        assert branches == [(outer if outer in gone else inner).branch]


@pytest.mark.parametrize("why", WHOLE)
def test_a_branch_stays(why):
    body = WHOLE[why]
    if why == "the output is given":
        body = f"{FIRST} y2 = Conv {SAME} (p, w2, b2) z = Add (y2, t)"
        model = network(body)
        extra = onnx.helper.make_tensor_value_info("y2", 1, None)
        model.proto.graph.output.append(extra)
    else:
        model = network(body)
    prepared = Prepared.of(model, "prune")
    assert prepared.group("a").branch is None


def test_a_branch_stays_where_branches_of_if_are_followed():
    text = f"""{HEAD}g (float[n,3,9,9] x, bool c) => (float[n,k,a,b] y) {{
        {STEM} {BRANCHES["a residual branch"]}
        y = If (c) <
            then_branch = g1 () => (float[n,k,a,b] y1) {{ y1 = Conv (z, last) }},
            else_branch = g2 () => (float[n,k,a,b] y2) {{ y2 = Conv (z, other) }} > }}"""
    shapes = SHAPES | {"other": (4, 6, 1, 1)}
    names = ("stem", "w1", "w2", "b2", "last", "other")
    weights = {name: RNG.standard_normal(shapes[name]) for name in names}
    prepared = Prepared.of(Model(text_graphs.model(text, **weights)))
    assert prepared.group("a").branch is None


def test_a_stream_may_be_narrower_as_well():
    prepared = Prepared.of(network(BRANCHES["a norm behind it"]), "prune")
    group, stream = prepared.group("a"), prepared.group("h")
    keep = prepared.without(group)
    keep[stream.units[[1, 4]]] = False
    left = prepared.cut(keep)
    assert verify_cut(left).passed
    (end,) = group.branch.ends
    stored = {t.name: t for t in left.pruned.proto.graph.initializer}
    assert list(stored[end].dims) == [1, 4, 1, 1]


@pytest.mark.parametrize("form", ["initializers", "constant nodes"])
def test_the_report_has_the_cuts_of_what_is_left(form):
    model = network(BRANCHES["a bottleneck"])
    if form == "constant nodes":
        stored = list(model.proto.graph.initializer)
        del model.proto.graph.initializer[:]
        nodes = [onnx.helper.make_node("Constant", [], [t.name], value=t) for t in stored]
        nodes += model.proto.graph.node
        del model.proto.graph.node[:]
        model.proto.graph.node.extend(nodes)
    prepared = Prepared.of(model, "prune")
    keep = prepared.without(prepared.group("c"))
    keep[prepared.group("h").units[[0, 2]]] = False
    cuts = cut(model, prepared.graph, prepared.channels, keep).cuts
    told = {(c.initializer, c.axis): c.keep.tolist() for c in cuts}
    emptied = {("w1", 0): [], ("w3", 0): [], ("w4", 1): []}
    assert told == {("stem", 0): [1, 3, 4, 5], ("last", 1): [1, 3, 4, 5], **emptied}
    again = keep_by_cuts(prepared.graph, prepared.channels, cuts, "this")
    np.testing.assert_array_equal(again, keep)


def test_what_is_compared_inside_is_made_by_both_models():
    """Layers of the branch read a narrower stream, but they are gone."""
    prepared = Prepared.of(network(BRANCHES["a bottleneck"]), "prune")
    keep = prepared.without(prepared.group("c"))
    keep[prepared.group("h").units[[0, 2]]] = False
    left = prepared.cut(keep)
    (view,) = views(left.graph, left.channels, keep)
    proof = _Proof(view, keep, FedModel(left.pruned.proto), None, [], quick=False)
    assert proof._behind_cuts() == ["y"]
    assert proof._there(["a", "b", "t", "x"]) == ["t", "x"]


def test_a_wrong_constant_is_seen_where_nothing_else_was_cut():
    prepared = Prepared.of(network(BRANCHES["a residual branch"]))
    left = prepared.cut(prepared.without(prepared.group("a")))
    (end,) = prepared.group("a").branch.ends
    (tensor,) = (t for t in left.pruned.proto.graph.initializer if t.name == end)
    wrong = numpy_helper.to_array(tensor) + 0.1
    tensor.CopyFrom(numpy_helper.from_array(wrong.astype(np.float32), end))
    assert not verify_cut(left).passed


# ── as users meet it ────────────────────────────────────────────────────────────────────────────


def images(n: int = 48) -> dict[str, np.ndarray]:
    return {"x": RNG.standard_normal((n, 3, 9, 9)).astype(np.float32)}


def names_of(proto: onnx.ModelProto) -> list[str]:
    return [output for node in proto.graph.node for output in node.output]


def layer(prepared: Prepared, tensor: str) -> str:
    return prepared.graph.producer(tensor).name


def test_a_layer_of_no_channel_takes_its_branch_along(tmp_path):
    model = network(BRANCHES["a bottleneck"])
    prepared = Prepared.of(model)
    asked = rp.Settings(sparsity=0.0, layer={layer(prepared, "c"): 0}, recover="none")
    pruned = rp.prune(model, asked)
    report = pruned.report
    assert names_of(pruned.model.proto) == ["h", "t", "s", "z", "y"]
    widths = {entry["weight"]: entry["out_channels"][1] for entry in report["layers"]}
    assert widths == {"stem": 6, "w1": 0, "w3": 0, "w4": 0, "last": 4}
    assert all(entry["coverage"] is None for entry in report["layers"])
    (entry,) = report["removed"]
    assert entry["constants"] == ["b"]
    assert len(entry["layers"]) == 3
    assert any("1 branch went as a whole" in note for note in report["notes"])
    original = tmp_path / "m.onnx"
    onnx.save(model.proto, original)
    assert rp.verify(original, pruned.model, report).result.passed
    again = rp.prune(model, rp.Settings(keep=report, recover="none"))
    assert again.model.proto.graph == pruned.model.proto.graph


def test_a_layer_that_closes_no_branch_keeps_a_channel():
    model = network(WHOLE["a pooled sum"])
    name = layer(Prepared.of(model), "a")
    with pytest.raises(SelectionError, match="give a number from 1 to 8"):
        rp.prune(model, rp.Settings(sparsity=0.1, layer={name: 0}))


@pytest.mark.parametrize("kind", ["a residual branch", "a norm behind it"])
def test_the_constant_is_what_is_missing_on_average(kind):
    model = network(BRANCHES[kind])
    prepared = Prepared.of(model)
    fed = images()
    asked = rp.Settings(
        sparsity=0.0, layer={layer(prepared, "a"): 0}, calibration=fed, calibration_size=48
    )
    pruned = rp.prune(model, asked)
    (end,) = prepared.group("a").branch.ends
    (tensor,) = (t for t in pruned.model.proto.graph.initializer if t.name == end)
    made = Session(model.proto, optimize=False, outputs=[end]).run(fed)[end]
    expected = made.mean(axis=(0, 2, 3), keepdims=True)
    np.testing.assert_allclose(numpy_helper.to_array(tensor), expected, atol=1e-4)
    recovery = pruned.report["recovery"]
    assert recovery["error_after"] < recovery["error_before"]


def test_the_constant_makes_good_what_the_shortcut_lost():
    body = f"{BRANCHES['a residual branch']} "
    model = network(body)
    prepared = Prepared.of(model, "prune")
    fed = images()
    widths = {layer(prepared, "a"): 0, layer(prepared, "h"): 3}
    pruned = rp.prune(
        model,
        rp.Settings(
            sparsity=0.1, layer=widths, calibration=fed, calibration_size=48, residual="prune",
            basis="file",
        ),
    )  # fmt: skip
    theirs = Session(model.proto, optimize=False, outputs=["s"]).run(fed)["s"]
    ours = Session(pruned.model.proto, optimize=False, outputs=["s"]).run(fed)["s"]
    (kept,) = (c["keep"] for c in pruned.report["cuts"] if c["initializer"] == "stem")
    missing = (theirs[:, kept] - ours).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(missing, 0, atol=1e-4)


def test_without_images_the_constant_is_what_the_norm_states():
    model = network(BRANCHES["a norm behind it"])
    name = layer(Prepared.of(model), "a")
    asked = rp.Settings(sparsity=0.0, layer={name: 0}, recover="data-free")
    pruned = rp.prune(model, asked)
    stored = {t.name: numpy_helper.to_array(t) for t in pruned.model.proto.graph.initializer}
    np.testing.assert_allclose(stored["n"].reshape(-1), NORM["e"], rtol=1e-6)


def test_losses_let_a_branch_go_that_does_nothing():
    """Its last layer makes next to nothing of it, so that any channel costs more than it gives."""
    model = network(BRANCHES["a residual branch"])
    for tensor in model.proto.graph.initializer:
        if tensor.name == "w2":
            array = 1e-3 * numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(array, "w2"))
    asked = rp.Settings(macs_reduction=0.8, calibration=images(), calibration_size=48)
    report = rp.prune(model, asked).report
    assert [entry["constants"] for entry in report["removed"]] == [["b"]]
    assert report["settings"]["min_channels"] == 0
    with pytest.raises(SelectionError, match="cannot be reached"):
        rp.prune(model, rp.Settings(**{**_given(asked), "macs_reduction": 0.93, "min_channels": 1}))
    uniform = rp.prune(model, rp.Settings(sparsity=0.9, recover="none")).report
    assert uniform["removed"] == []
    assert uniform["settings"]["min_channels"] == 1


def _given(settings: rp.Settings) -> dict:
    return {"calibration": settings.calibration, "calibration_size": settings.calibration_size}


def test_the_masked_original_gives_the_bias_of_the_last_layer():
    """The control of this file: what a branch of no channel gives is no assumption of its own."""
    prepared = Prepared.of(network(BRANCHES["a residual branch"]))
    keep = prepared.without(prepared.group("a"))
    masked = masked_original(prepared.graph, prepared.channels, keep).session(["b"])
    b = masked.run(images(2))["b"]
    (bias,) = (t for t in prepared.model.proto.graph.initializer if t.name == "b2")
    expected = np.broadcast_to(numpy_helper.to_array(bias).reshape(1, -1, 1, 1), b.shape)
    np.testing.assert_array_equal(b, expected)


def test_an_analysis_names_the_layers_of_a_branch():
    prepared = Prepared.of(network(BRANCHES["a bottleneck"]))
    told = describe(prepared.graph, prepared.channels, "m.onnx", "keep")
    names = [layer(prepared, tensor) for tensor in "acb"]
    closing = prepared.group("c").id
    assert told["summary"]["whole_branches"] == 1
    assert {g["id"]: g["branch"] for g in told["groups"] if g["branch"]} == {closing: names}


def test_the_error_for_what_is_out_of_reach_names_the_option_that_reaches_it():
    model, fed = network(BRANCHES["a residual branch"]), images()
    asked = rp.Settings(macs_reduction=0.8, calibration=fed, calibration_size=48, min_channels=1)
    with pytest.raises(SelectionError, match=r"allow more with .*a smaller --min-channels"):
        rp.prune(model, asked)
    assert len(rp.prune(model, replace(asked, min_channels=0)).report["removed"]) == 1


def test_it_names_no_option_that_is_of_no_use():
    model = network(WHOLE["a pooled sum"])
    asked = rp.Settings(
        macs_reduction=0.99, calibration=images(), calibration_size=48, min_channels=1
    )
    with pytest.raises(SelectionError) as error:
        rp.prune(model, asked)
    assert "--min-channels" not in str(error.value)
