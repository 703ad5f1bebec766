"""The memory and time of a proof do not grow with the size of the inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import text_graphs
from onnx import numpy_helper

import reprune_onnx as rp
from reprune_onnx.analyzer import channels_of, graph_of
from reprune_onnx.errors import VerificationError
from reprune_onnx.verification import bound, inputs
from reprune_onnx.verification import cut as verification

HALF = rp.Settings(sparsity=0.5, method="l1", recover="none", allocation="uniform")
RNG = np.random.default_rng(2)


def volume(tail: str, sides: str = "64, 64, 8", **weights: object) -> rp.Model:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 64, {sides}] x) => (float[1, 4, {sides}] y) <float[1, 6, {sides}] r> {{
        h = Conv (x, first)
        r = Relu (h)
        [reader] s = Conv (r, second)
        {tail}
    }}"""
    weights_ = {
        "first": RNG.standard_normal((6, 64, 1, 1, 1)) / 8,
        "second": RNG.standard_normal((4, 6, 1, 1, 1)),
    }
    return rp.Model(text_graphs.model(text, **weights_, **weights))


def test_a_large_volume_is_proven_on_a_smaller_one(monkeypatch):
    model = volume("y = Identity (s)")
    unbounded = rp.prune(model, HALF).report["verification"]
    assert unbounded["sizes"] is None
    assert unbounded["runs"] == 2
    monkeypatch.setattr(bound, "MOST", 10**6)
    seen = []
    real = inputs.random_inputs

    def drawn(ports, shapes, rng, draw):
        seen.append(shapes["x"])
        return real(ports, shapes, rng, draw)

    monkeypatch.setattr(inputs, "random_inputs", drawn)
    proof = rp.prune(model, HALF).report["verification"]
    assert proof["passed"]
    assert proof["sizes"] == "x = 1×64×32×32×8"  # neither channels nor a side below 32 is halved
    assert set(seen) == {(1, 64, 32, 32, 8)}
    assert proof["negative_control"] > 1e-2 * proof["scale"]
    forged = verification.FedModel

    def wrong(proto):
        made = forged(proto)
        node = next(n for n in made.proto.graph.node if n.name == "reader")
        weight = next(t for t in proto.graph.initializer if t.name == "second")
        made.rewire(node, 1, np.roll(numpy_helper.to_array(weight), 1, axis=1))
        return made

    monkeypatch.setattr(verification, "FedModel", wrong)
    with pytest.raises(VerificationError, match="differs from the masked original"):
        rp.prune(model, HALF)


ATTENTION = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, h, w] x) => (float[1, 4, h, w] y) {
    c = Conv (x, first)
    flat = Reshape (c, rows)
    turned = Transpose <perm = [0, 2, 1]> (flat)
    all = MatMul (turned, flat)
    s = Softmax (all)
    t = MatMul (flat, s)
    shape = Shape (c)
    u = Reshape (t, shape)
    r = Relu (u)
    y = Conv (r, second)
}"""


@pytest.mark.parametrize(("most", "side"), [(10**7, 32), (10**5, 32)])
def test_what_positions_make_with_positions_shrinks_by_its_square(monkeypatch, most, side):
    """At 128 × 128 there are 2²⁸ pairs of positions, at half of that a sixteenth."""
    weights = {
        "first": RNG.standard_normal((6, 3, 1, 1)),
        "second": RNG.standard_normal((4, 6, 1, 1)),
        "rows": np.array([0, 0, -1]),
    }
    model = rp.Model(text_graphs.model(ATTENTION, **weights))
    given = replace(HALF, input_shapes=(("x", (1, 3, 128, 128)),))
    monkeypatch.setattr(bound, "MOST", most)
    proof = rp.prune(model, given).report["verification"]
    assert proof["passed"]
    assert proof["sizes"] == f"x = 1×3×{side}×{side}"
    assert proof["negative_control"] > 1e-2 * proof["scale"]


def test_what_is_fixed_inside_is_proven_at_its_own_size(monkeypatch):
    monkeypatch.setattr(bound, "MOST", 10**6)
    table = RNG.standard_normal((1, 4, 64, 64, 8))
    proof = rp.prune(volume("y = Add (s, table)", table=table), HALF).report["verification"]
    assert proof["passed"]
    assert proof["sizes"] is None


def test_a_heavy_model_runs_once_per_size(monkeypatch):
    monkeypatch.setattr(inputs, "HEAVY", 10**5)
    proof = rp.prune(volume("y = Identity (s)", "8, 8, 8"), HALF).report["verification"]
    assert proof["passed"]
    assert proof["runs"] == 1


def test_what_is_held_at_once_counts_what_is_still_to_be_read():
    """The first activation is read by the Add at the end, so three are held there."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 2, 10, 10] x) => (float[] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)
        b = Relu (a)
        c = Relu (b)
        d = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)
        e = Resize (d, , twice)
        y = Add (a, e)
    }"""
    proto = text_graphs.model(
        text, w=RNG.standard_normal((4, 2, 3, 3)), twice=np.array([1, 1, 2, 2], np.float32)
    )
    graph = graph_of(rp.Model(proto))
    assert bound.held_at_once(graph, channels_of(graph, rp.Scope())) == 3 * 4 * 10 * 10


def test_a_heavy_model_is_proven_on_smaller_inputs_first(monkeypatch):
    monkeypatch.setattr(bound, "QUICK", 10**6)
    model = volume("y = Identity (s)")
    shown = rp.prune(model, HALF).report["verification"]
    assert shown["passed"]
    assert shown["sizes"] == "x = 1×64×32×32×8"
    assert shown["runs"] == 2
    assert shown["negative_control"] > 1e-2 * shown["scale"]


@pytest.mark.parametrize(
    ("tail", "where"),
    [
        ("y = Add (s, table)", "shape inference"),
        ("z = Shape (s)\n n = Size (s)\n k = Reshape (s, given)\n y = Reshape (k, z)", "a run"),
        ("q = Sub (s, s)\n m = ReduceMax <axes = [2, 3, 4]> (q)\n y = Add (m, s)", "nothing"),
    ],
)
def test_a_heavy_model_that_fits_no_smaller_inputs_is_proven_at_its_own(tail, where, monkeypatch):
    monkeypatch.setattr(bound, "QUICK", 10**6)
    asked = []
    real = bound.fits

    def fitting(proto, shapes):
        asked.append(real(proto, shapes))
        return where != "shape inference" or asked[-1]

    monkeypatch.setattr(bound, "fits", fitting)
    table = RNG.standard_normal((1, 4, 64, 64, 8))
    model = volume(tail, table=table, given=np.array([4, 64, 512]))
    shown = rp.prune(model, HALF).report["verification"]
    assert shown["passed"]
    assert shown["sizes"] == (None if where != "nothing" else "x = 1×64×32×32×8")
    assert asked == [where == "nothing"]


def test_where_smaller_inputs_show_nothing_those_of_the_file_are_taken(monkeypatch):
    """Only the far corner of the volume is looked at."""
    monkeypatch.setattr(bound, "QUICK", 10**6)
    tail = """b = Shape <start = 2, end = 3> (x)
        f = Cast <to = 1> (b)
        over = Sub (f, forty)
        r2 = Relu (over)
        y = Mul (s, r2)"""
    shown = rp.prune(volume(tail, forty=np.array([40.0])), HALF).report["verification"]
    assert shown["passed"]
    assert not shown["inner"]
    assert shown["sizes"] is None
