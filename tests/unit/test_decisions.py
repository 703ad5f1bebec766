"""Cuts are proven also where a graph's choices turn on rounding."""

import numpy as np
import pytest
import text_graphs

import reprune_onnx as rp
from reprune_onnx.errors import VerificationError
from reprune_onnx.types import Model
from reprune_onnx.verification import cut as verification
from reprune_onnx.verification.decisions import Decisions

RANKING = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 3, 64, 64] x) => (float[n, 2] picked, int64[n] order) {
    h = Conv <pads = [1, 1, 1, 1]> (x, first)
    r = Relu (h)
    s = Conv (r, second)
    flat = Reshape (s, all)
    best, order = TopK (flat, many)
    picked = Gather (table, order)
}
"""
BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 3, 64, 64] x) => (float[n, 2] picked) {
    h = Conv <pads = [1, 1, 1, 1]> (x, first)
    r = Relu (h)
    s = Conv (r, second)
    flat = Reshape (s, all)
    picked = If (yes) <
        then_branch = best_first () => (float[n, 2] chosen) {
            best, order = TopK (flat, many)
            chosen = Gather (table, order)
        },
        else_branch = none () => (float[n, 2] same) { same = Identity (table) }
    >
}
"""
STEPS = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 3, 64, 64] x) => (float[n, c, a, b] low, float[n, c, a, b] s) {
    h = Conv <pads = [1, 1, 1, 1]> (x, first)
    r = Relu (h)
    s = Conv (r, second)
    far = Add (s, thousand)
    near = Sub (far, thousand)
    low = Floor (near)
}
"""
SIDES = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 3, 64, 64] x) => (float[n, c, a, b] low) {
    h = Conv <pads = [1, 1, 1, 1]> (x, first)
    r = Relu (h)
    s = Conv (r, second)
    far = Add (s, thousand)
    near = Sub (far, thousand)
    yes = Greater (near, zero)
    low = Where (yes, s, zero)
}
"""


def ranking(text: str) -> Model:
    """16,384 scores are put in order: some neighbours differ by no more than rounding does."""
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.standard_normal((640, 3, 3, 3)),
        "second": rng.standard_normal((4, 640, 1, 1)),
        "table": rng.standard_normal((16384, 2)),
        "all": np.array([-1]),
        "many": np.array([16384]),
    }
    if "thousand" in text:
        weights["second"] *= 1e-3
        weights["thousand"] = np.array(1000.0)
        weights["zero"] = np.array(0.0)
    if "If (yes)" in text:
        weights["yes"] = np.array(True)
    return Model(text_graphs.model(text, **weights))


HALF = rp.Settings(sparsity=0.5, method="l1", recover="none", allocation="uniform")


@pytest.mark.parametrize("text", [RANKING, BRANCHES])
def test_what_follows_a_choice_is_compared_with_the_same_choice(text, monkeypatch):
    report = rp.prune(ranking(text), HALF).report
    proof = report["verification"]
    assert proof["passed"]
    assert proof["max_abs_diff"] / proof["scale"] < 1e-5
    assert proof["negative_control"] / proof["scale"] > 1e-2
    monkeypatch.setattr(
        verification, "decisions", lambda graph, channels, keep: Decisions([], [], [])
    )
    with pytest.raises(VerificationError, match="amplifies rounding"):
        rp.prune(ranking(text), HALF)


@pytest.mark.parametrize("text", [RANKING, BRANCHES])
def test_a_wrong_cut_before_a_choice_is_seen(text, monkeypatch):
    real = verification.FedModel

    def wrong(proto):
        made = real(proto)
        second = next(n for n in made.proto.graph.node if n.output[0] == "s")
        weight = next(t for t in proto.graph.initializer if t.name == "second")
        made.rewire(second, 1, np.roll(text_graphs.numpy_helper.to_array(weight), 1, axis=1))
        return made

    monkeypatch.setattr(verification, "FedModel", wrong)
    with pytest.raises(VerificationError, match="differs from the masked original"):
        rp.prune(ranking(text), HALF)


def test_what_is_rounded_counts_in_whole_numbers():
    """A small number that comes from large ones is off by their rounding, not by its own."""
    model = ranking(STEPS)
    proof = rp.prune(model, HALF).report["verification"]
    assert proof["passed"]
    assert proof["scale"] == 1.0
    assert 1e-5 < proof["max_abs_diff"] < 1e-4
    assert proof["negative_control"] > 1e-2


def test_a_small_difference_of_large_numbers_is_compared_by_these():
    proof = rp.prune(ranking(SIDES), HALF).report["verification"]
    assert proof["passed"]
    assert 0.1 < proof["scale"] < 10
    assert proof["max_abs_diff"] < 1e-5
    assert proof["negative_control"] > 1e-2
